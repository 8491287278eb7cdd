"""A quantised file is what llama.cpp's own quantiser makes of the same model, bit by bit; its size is known before."""

import dataclasses
import json
from pathlib import Path

import gguf_types
import numpy as np
import pytest

from tunesmith.errors import InvalidInput, NotConvertible
from tunesmith.gguf import (
    NEED_MATRIX,
    FileType,
    collected,
    kernels,
    plan_gguf,
    read_importance,
    write_gguf,
    write_importance,
)
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
    assert {key for key in KNOWN[name] if " " not in key} == {
        one.value for one in QUANTISED if not one.needs_matrix
    }
    for file_type in QUANTISED:
        if file_type.needs_matrix:
            continue
        written = write_gguf(folder, tmp_path / f"{file_type}.gguf", file_type)
        assert written.bytes > plan_gguf(folder, file_type).bytes
        assert gguf_types.print_of(written.path) == KNOWN[name][file_type], file_type
        written.path.unlink()


def with_matrix(folder: Path, target: Path, file_type: FileType) -> str:
    """The print of a file that was written with the model's matrix, read back from its own file."""
    beside = target.with_suffix(".imatrix")
    write_importance(gguf_types.make_matrix(folder), beside)
    try:
        written = write_gguf(folder, target, file_type, matrix=read_importance(beside))
        return gguf_types.print_of(written.path)
    finally:
        beside.unlink()
        target.unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.long
def test_every_type_is_what_llama_cpp_makes_with_the_same_matrix(
    model: tuple[str, Path], tmp_path: Path
) -> None:
    name, folder = model
    for file_type in QUANTISED:
        made = with_matrix(folder, tmp_path / "model.gguf", file_type)
        assert made == KNOWN[name][gguf_types.key_of(file_type, True)], file_type


@pytest.mark.parametrize("file_type", [FileType.IQ2_XXS, FileType.Q4_K_M, FileType.Q4_0, FileType.IQ4_XS])
def test_a_matrix_decides_what_is_rounded_how(file_type: FileType, tmp_path: Path) -> None:
    """The quick ones of the test before: rows of 80, of which a third of the numbers lies in rows of 256."""
    name = "rows of 80"
    folder = gguf_types.make_model(tmp_path / "model", **gguf_types.MODELS[name])
    made = with_matrix(folder, tmp_path / "model.gguf", file_type)
    assert made == KNOWN[name][gguf_types.key_of(file_type, True)]
    assert made != KNOWN[name].get(file_type.value)


def test_what_needs_a_matrix_is_refused_without_one(tmp_path: Path) -> None:
    folder = gguf_types.make_model(tmp_path / "model", **gguf_types.MODELS["rows of 80"])
    for name in NEED_MATRIX:
        with pytest.raises(NotConvertible, match="importance_matrix"):
            plan_gguf(folder, FileType(name))
    whole = gguf_types.make_matrix(folder)
    for change in ("lost", "narrow"):
        sums = dict(whole.sums)
        if change == "lost":
            del sums["blk.1.ffn_down.weight"]
        else:
            sums["blk.1.ffn_down.weight"] = sums["blk.1.ffn_down.weight"][:-1]
        with pytest.raises(NotConvertible, match=r"blk\.1\.ffn_down\.weight"):
            plan_gguf(folder, FileType.IQ2_XXS, matrix=dataclasses.replace(whole, sums=sums))


def test_a_matrix_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    sums = {"blk.0.ffn_up.weight": np.arange(512.0), "blk.0.ffn_down.weight": np.zeros(512)}
    sums["blk.0.ffn_down.weight"][300] = 7
    made = collected(sums, dict.fromkeys(sums, 64), chunk=32, chunks=2, sources=("support@1",))
    assert (made.sums["blk.0.ffn_down.weight"][:256] == 64).all(), "what was never seen counts as the rest"
    assert (made.sums["blk.0.ffn_down.weight"][256:].sum()) == 7
    write_importance(made, tmp_path / "m.gguf")
    found = read_importance(tmp_path / "m.gguf")
    assert (found.counts, found.chunk, found.chunks, found.sources) == (made.counts, 32, 2, ("support@1",))
    for name, values in made.sums.items():
        assert (found.sums[name] == values).all()


@pytest.mark.parametrize("broken", ["a model", "text", "cut off"])
def test_what_is_no_matrix_file_is_refused(broken: str, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    folder = gguf_types.make_model(tmp_path / "model", **gguf_types.MODELS["rows of 80"])
    if broken == "a model":
        write_gguf(folder, file)
    elif broken == "text":
        file.write_text("no such thing")
    else:
        write_importance(gguf_types.make_matrix(folder), file)
        file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(InvalidInput, match="no importance matrix"):
        read_importance(file)


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
        assert file_type.needs_matrix == (file_type in NEED_MATRIX)
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
