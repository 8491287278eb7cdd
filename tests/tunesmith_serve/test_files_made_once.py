"""Files that are made once: whole or not there, one for the same weights, bounded, and never anybody else's removed."""

import os
import threading
from pathlib import Path

import asked
import pytest
from asked import served

from tunesmith import removal
from tunesmith.errors import NotConvertible, NotOurs
from tunesmith_serve import gguf_files
from tunesmith_serve.gguf_files import GgufFiles


def files(place: Path) -> set[str]:
    return {file.name for file in (place / "cache" / "gguf").iterdir() if file.name != removal.MARK}


def made(place: Path, most: int = 2**40) -> GgufFiles:
    return GgufFiles(place / "cache", place / "scratch", most)


def test_the_same_weights_are_one_file_whatever_they_are_called(chatty: Path, tmp_path: Path) -> None:
    one = made(tmp_path)
    said: list[str] = []
    base, adapter = one.model(chatty, said.append), one.adapter(served(chatty, "one"), said.append)
    assert "Writing the model's file for llama.cpp: 100 %." in said
    assert "Writing the adapter `one` for llama.cpp: 100 %." in said
    before = {file: file.stat().st_ino for file in (base, adapter)}
    again = made(tmp_path)
    assert again.model(chatty) == base
    assert (
        again.adapter(served(chatty, "one").model_copy(update={"name": "other", "model_uri": "/gone"}))
        == adapter
    )
    assert {file: file.stat().st_ino for file in (base, adapter)} == before
    assert one.adapter(served(chatty, "two")) != adapter
    assert len(files(tmp_path)) == 3


def test_another_writer_and_other_weights_are_other_files(
    chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path)
    found = {one.model(chatty)}
    found.add(one.model(asked.make_model(tmp_path / "other", "qwen2")))
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    found.add(one.model(tmp_path / "other"))
    monkeypatch.setattr(gguf_files, "WRITER", gguf_files.WRITER + 1)
    found.add(one.model(chatty))
    assert len(found) == 4


def test_two_that_make_one_at_once_have_it_both(chatty: Path, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(made(tmp_path).model(chatty))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == len(files(tmp_path)) == 1


def test_what_was_cut_off_has_no_name_and_goes(
    chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, target: Path, *_: object) -> None:
        target.with_name(f".{target.name}.{'0' * 12}.part").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    one = made(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(gguf_files, "write_gguf", full)
        with pytest.raises(OSError, match="No space"):
            one.model(chatty)
    [part] = (tmp_path / "cache" / "gguf").glob(".*.part")
    kept = one.model(chatty)
    assert part.exists(), "another process may be writing it"
    old = part.stat().st_mtime - 2 * gguf_files._PART_SECONDS
    os.utime(part, (old, old))
    one.adapter(served(chatty, "one"))
    assert not part.exists()
    assert kept.exists()


def test_those_used_longest_ago_make_room_and_nothing_of_others(chatty: Path, tmp_path: Path) -> None:
    one = made(tmp_path)
    base, first, second = (
        one.model(chatty), one.adapter(served(chatty, "one")), one.adapter(served(chatty, "two"))
    )  # fmt: skip
    for age, file in enumerate((first, base, second)):
        os.utime(file, (1000 - age, 1000 - age))
    folder = base.parent
    others = [folder / "mine.gguf", folder / f"{'a' * 63}.gguf"]
    for file in others:
        file.write_bytes(bytes(100))
    (folder / f"{'b' * 64}.gguf").symlink_to(chatty / "model.safetensors")
    # None is in use in this process: the one used longest ago goes, then no more than must.
    tight = made(tmp_path, base.stat().st_size + first.stat().st_size)
    assert tight.adapter(served(chatty, "one")) == first  # used now
    asked.make_adapter(chatty, chatty.parent / "three", 4, target_modules=["q_proj"])
    third = tight.adapter(served(chatty, "three"))
    assert first.exists(), "it is in use"
    assert third.exists()
    assert not second.exists()
    assert base.exists()
    assert all(file.exists() for file in others)
    assert (chatty / "model.safetensors").exists()
    tight.release(first)
    tight._most_bytes = 0
    asked.make_adapter(chatty, chatty.parent / "four", 4, target_modules=["k_proj"])
    tight.adapter(served(chatty, "four"))
    assert third.exists()
    assert not first.exists()
    assert not base.exists()


def test_a_folder_of_somebody_else_is_left(chatty: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "gguf").mkdir(parents=True)
    (tmp_path / "cache" / "gguf" / "notes.txt").write_text("mine")
    with pytest.raises(NotOurs):
        made(tmp_path).model(chatty)
    assert files(tmp_path) == {"notes.txt"}


def test_what_no_file_holds_is_refused_and_leaves_none(chatty: Path, tmp_path: Path) -> None:
    with pytest.raises(NotConvertible, match="use_dora"):
        made(tmp_path).adapter(served(chatty, "dora"))
    assert files(tmp_path) == set()
    assert list((tmp_path / "scratch").iterdir()) == []
