"""A package's GGUF file answers from where it lies, by llama.cpp alone; what is not what was packaged is not loaded."""

import dataclasses
from pathlib import Path
from typing import Any

import asked
import pytest
from asked import PROMPTS, Live

from tunesmith.artifacts import sha256_of
from tunesmith.chat.wire import PackagedGguf, ServedModel
from tunesmith.errors import InvalidModel
from tunesmith.gguf import FileType, plan_gguf, write_gguf
from tunesmith.gguf.header import numbers_of
from tunesmith.packaged import FilePart
from tunesmith_serve import gguf_files
from tunesmith_serve.choosing import engine_for
from tunesmith_serve.engine import EngineSettings, computed_by
from tunesmith_serve.gguf_files import GgufFiles

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def packaged(chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A file as a package holds it, as a question names it."""
    place = tmp_path_factory.mktemp("package") / "run-4-Q8_0.gguf"
    write_gguf(chatty, place, FileType.Q8_0)
    file = PackagedGguf(uri=str(place), sha256=sha256_of(place), bytes=place.stat().st_size, type="Q8_0")
    more = {"name": "run:4:Q8_0", "weights": file.sha256, "model_uri": file.uri, "base_path": file.uri}
    return asked.served(chatty).model_copy(update=more | {"file": file})


@pytest.fixture(scope="module")
def split(packaged: ServedModel, chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """The same in several files."""
    whole = tmp_path_factory.mktemp("split") / "run-4-Q8_0.gguf"
    size = Path(file_of(packaged).uri).stat().st_size
    write_gguf(chatty, whole, FileType.Q8_0, split_bytes=size // 2)
    files = sorted(whole.parent.glob("*.gguf"))
    assert len(files) > 2
    parts = [FilePart(name=one.name, bytes=one.stat().st_size, sha256=sha256_of(one)) for one in files]
    file = PackagedGguf(
        uri=str(files[0]), sha256="5" * 64, bytes=sum(one.bytes for one in parts), type="Q8_0", parts=parts
    )
    more = {"weights": file.sha256, "model_uri": file.uri, "base_path": file.uri, "file": file}
    return packaged.model_copy(update=more)


def file_of(model: ServedModel) -> PackagedGguf:
    assert model.file is not None
    return model.file


def settings_of(model: ServedModel, place: Path, **more: Any) -> EngineSettings:
    given = asked.settings(Path(model.encoder_path), place, **more)
    return dataclasses.replace(given, base=Path(model.base_path), file=model.file)


def test_it_answers_as_its_file_computes(packaged: ServedModel, chatty: Path, tmp_path: Path) -> None:
    settings = settings_of(packaged, tmp_path)
    live = Live(lambda: engine_for(settings))
    try:
        live.load(packaged)
        assert live.engine.serving(packaged.weights) == "llama_cpp"
        assert live.engine.why == "It is a packaged file."
        wanted = asked.written(asked.library_model(chatty), PROMPTS[0])
        assert live.ask(packaged, PROMPTS[0]).ids == wanted
    finally:
        live.close()
    assert not list((tmp_path / "cache" / "gguf").glob("*.gguf")), "no copy was made"
    assert computed_by("llama_cpp", packaged)[::2] == ("llama_cpp", "Q8_0")


@pytest.mark.parametrize("is_far", [False, True])
def test_one_in_several_parts_answers_as_the_whole_does(
    packaged: ServedModel, split: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_far: bool
) -> None:
    if is_far:
        monkeypatch.setattr(gguf_files, "local_path", lambda _: None)
    found = []
    for place, model in enumerate((packaged, split)):
        settings = settings_of(model, tmp_path / str(place))
        live = Live(lambda settings=settings: engine_for(settings))  # type: ignore[misc]
        try:
            live.load(model)
            found.append(live.ask(model, PROMPTS[0]).ids)
            assert live.engine.loaded[model.weights] > file_of(model).bytes
        finally:
            live.close()
    assert found[0] == found[1]
    parts = len(file_of(split).parts)
    assert len(list((tmp_path / "1" / "cache" / "gguf").glob("*.gguf"))) == (parts if is_far else 0)


def test_a_part_that_is_another_is_refused(split: ServedModel, tmp_path: Path) -> None:
    file, files = file_of(split), GgufFiles(tmp_path / "cache", tmp_path / "scratch")
    assert files.packaged(file) == Path(file.uri)
    for place, wrong in enumerate(file.parts):
        parts = [*file.parts]
        parts[place] = wrong.model_copy(update={"sha256": "0" * 64})
        with pytest.raises(InvalidModel, match=f"`{wrong.name}` is not what was packaged"):
            files.packaged(file.model_copy(update={"parts": parts}))


def test_the_library_does_not_read_it(packaged: ServedModel, tmp_path: Path) -> None:
    settings = settings_of(packaged, tmp_path, engine="transformers")
    live = Live(lambda: engine_for(settings))
    try:
        with pytest.raises(InvalidModel, match=r"llama\.cpp alone"):
            live.load(packaged)
    finally:
        live.close()


def test_what_is_not_what_was_packaged_is_refused(packaged: ServedModel, tmp_path: Path) -> None:
    file = file_of(packaged)
    other = tmp_path / "run-4-Q8_0.gguf"
    data = bytearray(Path(file.uri).read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    files = GgufFiles(tmp_path / "cache", tmp_path / "scratch")
    with pytest.raises(InvalidModel, match="not what was packaged"):
        files.packaged(file.model_copy(update={"uri": str(other)}))
    with pytest.raises(InvalidModel, match="is not there"):
        files.packaged(file.model_copy(update={"uri": str(tmp_path / "gone.gguf")}))


def test_its_sum_is_taken_once(
    packaged: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, files = file_of(packaged), GgufFiles(tmp_path / "cache", tmp_path / "scratch")
    assert files.packaged(file) == Path(file.uri)
    monkeypatch.setattr(gguf_files, "sha256_of", lambda _: pytest.fail("it was read once more"))
    again = GgufFiles(tmp_path / "cache", tmp_path / "scratch")
    assert again.packaged(file) == Path(file.uri)


def test_one_that_lies_elsewhere_is_fetched_once(
    packaged: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, files = file_of(packaged), GgufFiles(tmp_path / "cache", tmp_path / "scratch")
    monkeypatch.setattr(gguf_files, "local_path", lambda _: None)
    found = files.packaged(file)
    assert found.parent == tmp_path / "cache" / "gguf"
    assert found.read_bytes() == Path(file.uri).read_bytes()
    monkeypatch.setattr(gguf_files, "open_storage", lambda _: pytest.fail("it was fetched once more"))
    assert files.packaged(file) == found
    monkeypatch.undo()
    monkeypatch.setattr(gguf_files, "local_path", lambda _: None)
    with pytest.raises(InvalidModel, match="not what was packaged"):
        files.packaged(file.model_copy(update={"sha256": "0" * 64}))
    assert len(list(found.parent.iterdir())) == 2, "the file and the folder's mark"


def test_a_file_says_its_sizes(packaged: ServedModel, chatty: Path, tmp_path: Path) -> None:
    found = numbers_of(Path(file_of(packaged).uri))
    plan = plan_gguf(chatty)
    wanted = {
        name.removeprefix("llama."): value
        for name, value in plan.metadata.items()
        if name.startswith("llama.") and isinstance(value, int)
    }
    assert wanted
    assert found == wanted
    whole = Path(file_of(packaged).uri).read_bytes()
    for number, data in enumerate((b"", b"GGUX" + whole[4:100], whole[:200], b"GGUF" + b"\xff" * 60)):
        broken = tmp_path / f"broken-{number}.gguf"
        broken.write_bytes(data)
        with pytest.raises(InvalidModel):
            numbers_of(broken)
