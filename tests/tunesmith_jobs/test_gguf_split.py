"""A model in several files: llama.cpp opens it by the first, and computes what it computes of the one file."""

from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
import small_models

from tunesmith.errors import InvalidInput, NotOurs
from tunesmith.gguf import FileType, plan_gguf, write_gguf
from tunesmith.gguf import split as splitting

MOST = 150_000
IDS = list(range(4, 60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("split") / "model"
    small_models.model_of("qwen3", made, head_dim=32)
    return made


@pytest.mark.parametrize(("file_type", "most"), [(FileType.F16, MOST), (FileType.Q4_K_M, 60_000)])
def test_llama_cpp_reads_the_split_from_its_first_file(
    folder: Path, tmp_path: Path, file_type: FileType, most: int
) -> None:
    from gguf import GGUFReader

    whole = write_gguf(folder, tmp_path / "whole.gguf", file_type)
    written = write_gguf(folder, tmp_path / "model.gguf", file_type, split_bytes=most)
    count = len(written.parts)
    assert count > 2, "else little is split"
    assert [part.name for part in written.parts] == [
        f"model-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)
    ]
    assert splitting.parts_beside(written.path) == list(written.parts)
    assert {file.name for file in tmp_path.iterdir()} == {
        "whole.gguf",
        *(part.name for part in written.parts),
    }
    sizes = [part.stat().st_size for part in written.parts]
    assert (sum(sizes), written.tensors) == (written.bytes, whole.tensors)
    for number, part in enumerate(written.parts):
        reader = GGUFReader(part)
        said = {
            key: reader.get_field(key).contents()
            for key in ("split.no", "split.count", "split.tensors.count")
        }
        assert said == {"split.no": number, "split.count": count, "split.tensors.count": whole.tensors}
        assert sizes[number] <= most or len(reader.tensors) == 1 or number == 0
        assert bool(reader.get_field("general.architecture")) == (number == 0)
    one = llama_cpp.ask(whole.path, ids=IDS, texts=["Ember burns."])
    many = llama_cpp.ask(written.path, ids=IDS, texts=["Ember burns."])
    assert np.array_equal(one["logits"], many["logits"])
    assert (one["plain"], one["facts"]) == (many["plain"], many["facts"])


def test_what_fits_in_one_file_has_its_own_name(folder: Path, tmp_path: Path) -> None:
    whole = write_gguf(folder, tmp_path / "a.gguf")
    written = write_gguf(folder, tmp_path / "b.gguf", split_bytes=whole.bytes + 4096)
    assert (written.path.name, written.parts) == ("b.gguf", (written.path,))
    assert written.path.read_bytes() == whole.path.read_bytes()


def test_no_file_of_a_split_is_larger_than_was_said_where_its_tensors_allow_it(folder: Path) -> None:
    plan = plan_gguf(folder)
    largest = max(tensor.bytes for tensor in plan.tensors)
    for most in (largest + 2000, 2 * largest, 3 * largest):
        parts = splitting.divided(Path("model.gguf"), plan.architecture, plan.metadata, plan.tensors, most)
        assert [tensor for part in parts for tensor in part.tensors] == list(plan.tensors)
        assert all(sum(map(splitting._taken, part.tensors)) <= most for part in parts)


def test_many_files_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(splitting, "MAX_PARTS", 2)
    with pytest.raises(InvalidInput, match="the model would be") as raised:
        write_gguf(folder, tmp_path / "model.gguf", split_bytes=MOST)
    assert raised.value.problems[0].field == "split_size"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", [0.02, 0.5, 0.97])
def test_what_was_cut_off_leaves_no_file(folder: Path, tmp_path: Path, at: float) -> None:
    class Cut(Exception):
        pass

    def tell(tensor: str, done: int, total: int) -> None:
        if done > at * total:
            raise Cut

    with pytest.raises(Cut):
        write_gguf(folder, tmp_path / "model.gguf", progress=tell, split_bytes=MOST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_name_that_is_taken_meanwhile_leaves_no_other(
    folder: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file gets its name last: a split that is opened is whole."""
    from tunesmith.gguf import file as writing

    count = len(write_gguf(folder, tmp_path / "seen.gguf", split_bytes=MOST).parts)
    taken = splitting.part_name(tmp_path / "model.gguf", number, count)
    written: list[Any] = []
    real = writing._write_part

    def write(*given: Any) -> int:
        written.append(given)
        size = real(*given)
        if len(written) == count:
            taken.write_text("another's")
        return size

    monkeypatch.setattr(writing, "_write_part", write)
    with pytest.raises(NotOurs):
        write_gguf(folder, tmp_path / "model.gguf", split_bytes=MOST)
    assert [file.name for file in tmp_path.glob("model*")] == [taken.name]
    assert taken.read_text() == "another's"
    assert not list(tmp_path.glob(".*"))
