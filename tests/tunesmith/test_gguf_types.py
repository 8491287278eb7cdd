"""A quantised file is what llama.cpp's own quantiser makes of the same model, bit by bit; its size is known before."""

import json
from pathlib import Path

import gguf_types
import pytest

from tunesmith.gguf import NEED_MATRIX, FileType, kernels, plan_gguf, write_gguf
from tunesmith.gguf.types import TensorType

pytest.importorskip("xllamacpp")
KNOWN = json.loads(gguf_types.KNOWN.read_text())
QUANTISED = [one for one in FileType if one.is_quantised]


LONG = "tied, 16 layers"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.long, pytest.mark.slow] if name == LONG else [])
        for name in gguf_types.MODELS
    ],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("types") / "model"
    return request.param, gguf_types.make_model(folder, **gguf_types.MODELS[request.param])


@pytest.mark.slow
def test_every_type_is_bit_by_bit_what_llama_cpp_makes(model: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = model
    assert set(KNOWN[name]) == {one.value for one in QUANTISED}
    for file_type in QUANTISED:
        written = write_gguf(folder, tmp_path / f"{file_type}.gguf", file_type)
        assert written.bytes > plan_gguf(folder, file_type).bytes
        assert gguf_types.print_of(written.path) == KNOWN[name][file_type], file_type
        written.path.unlink()


def test_several_threads_make_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    kernels._pool.cache_clear()
    name = "rows of 96"
    folder = gguf_types.make_model(tmp_path / "model", **gguf_types.MODELS[name])
    written = write_gguf(folder, tmp_path / "model.gguf", FileType.Q4_K_M)
    assert kernels._pool()._max_workers == 3
    assert gguf_types.print_of(written.path) == KNOWN[name]["Q4_K_M"]
    kernels._pool.cache_clear()


def test_numbers_and_sizes_are_the_librarys() -> None:
    import gguf

    for file_type in FileType:
        name = "ALL_F32" if file_type is FileType.F32 else f"MOSTLY_{file_type}"
        assert file_type.number == gguf.LlamaFileType[name], file_type
        assert file_type not in NEED_MATRIX
    for kind in TensorType:
        assert tuple(kind.block) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.value]], kind


def test_rows_that_do_not_divide_are_counted(tmp_path: Path) -> None:
    folder = gguf_types.make_model(tmp_path / "model", **gguf_types.MODELS["rows of 96"])
    assert plan_gguf(folder, FileType.Q4_K_M).fallbacks == {"Q4_K -> Q5_0": 49, "Q6_K -> Q8_0": 8}
    assert plan_gguf(folder, FileType.Q8_0).fallbacks == plan_gguf(folder).fallbacks == {}


def test_a_quantised_file_needs_the_kernels_and_a_cast_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.errors import NotInstalled

    folder = gguf_types.make_model(tmp_path / "model", **gguf_types.MODELS["rows of 80"])
    monkeypatch.setattr(kernels, "_PACKAGE", "no_such_package")
    kernels._kernels.cache_clear()
    try:
        with pytest.raises(NotInstalled, match="xllamacpp"):
            plan_gguf(folder, FileType.Q8_0)
        assert write_gguf(folder, tmp_path / "model.gguf").bytes
    finally:
        kernels._kernels.cache_clear()
