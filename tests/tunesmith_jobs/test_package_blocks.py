"""Every block of a file is held against the model, in every type and with an importance matrix, also in rows that are
not encoded again for their place.
"""

from pathlib import Path

import gguf
import numpy as np
import pytest

from tunesmith.gguf.importance import Importance
from tunesmith.gguf.kernels import quantised
from tunesmith.gguf.types import TensorType
from tunesmith_jobs.models.gguf_proof.weights_check import FileTensors

pytest.importorskip("xllamacpp")

NAME, ROWS, WIDTH, ROW = "blk.0.ffn_up.weight", 128, 512, 30
"""A row that is neither at the beginning, nor in the middle, nor at the end."""
SLOW = (TensorType.IQ2_XS, TensorType.IQ2_S, TensorType.IQ1_S, TensorType.IQ1_M)
"""Whose kernels take some seconds of a processor to begin."""
FAULTS = ["none", "zeros", "another sign", "another row", "another block", "twice as large"]


def weights(seed: int = 0) -> np.ndarray:
    """Some numbers are far larger than most, as in a trained model; columns and rows differ in size."""
    drawn = np.random.default_rng(seed)
    found = drawn.standard_t(4, (ROWS, WIDTH)) * drawn.lognormal(0, 0.5, (ROWS, 1)) * 0.02
    return (found * drawn.lognormal(0, 0.5, (1, WIDTH))).astype(np.float32)


def encoded(rows: np.ndarray, kind: TensorType, matters: np.ndarray | None) -> np.ndarray:
    if kind.is_cast:
        found = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[kind.value])
        return np.ascontiguousarray(found).view(np.uint8).reshape(len(rows), -1)
    return quantised(rows, WIDTH, kind, matters).reshape(len(rows), -1).copy()


def planted(
    fault: str, right: np.ndarray, made: np.ndarray, kind: TensorType, matters: np.ndarray | None
) -> None:
    """Lay a fault into the first block of a row."""
    size = made.shape[-1] // (WIDTH // 256)
    block = slice(0, size)
    change = {"zeros": 0.0, "another sign": -1.0, "twice as large": 2.0}
    if fault in change:
        made[ROW, block] = encoded(right[[ROW]] * np.float32(change[fault]), kind, matters)[0, block]
    elif fault == "another row":
        made[ROW, block] = made[ROW + 1, block]
    elif fault == "another block":
        made[ROW, block] = made[ROW, size:].copy()


@pytest.mark.parametrize("with_matrix", [False, True])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long if kind in SLOW else ()) for kind in TensorType]
)
def test_a_wrong_block_is_caught_and_a_right_one_is_not(
    kind: TensorType, with_matrix: bool, tmp_path: Path
) -> None:
    """A right file is one whose model was put together with another last bit here and there."""
    if not with_matrix and kind in (TensorType.IQ2_XXS, TensorType.IQ2_XS, TensorType.IQ1_S):
        pytest.skip("it needs a matrix")
    if with_matrix and kind.is_cast:
        pytest.skip("it takes none")
    right = weights()
    matters = np.random.default_rng(1).lognormal(0, 2, WIDTH).astype(np.float32) if with_matrix else None
    importance = Importance({NAME: matters}, {NAME: 1}, 1, 1) if matters is not None else None
    drawn = np.random.default_rng(2)
    other_bit = np.where(drawn.random(right.shape) < 0.02, np.nextafter(right, np.float32(9)), right)
    for fault in FAULTS:
        made = encoded(right, kind, matters)
        planted(fault, right, made, kind, matters)
        file = tmp_path / f"{fault}.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_tensor(NAME, made, raw_dtype=gguf.GGMLQuantizationType[kind.value])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        share, found = FileTensors(file).compared(NAME, other_bit, importance)
        assert (found is None) == (fault == "none"), (fault, share, found)
        if found is not None:
            assert f"row {ROW} " in found.words
