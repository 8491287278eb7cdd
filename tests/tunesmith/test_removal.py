"""What is removed is what we can prove to have made: by its manifest, by its mark, never through a link."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.artifacts import Manifest, list_files
from tunesmith.errors import NotOurs
from tunesmith.removal import (
    MARK,
    claim,
    discard,
    finish_removals,
    folders,
    is_own,
    lay,
    new_file,
    owner_of,
    remove_empty,
    remove_own,
    remove_result,
    results,
    staged,
    writer_of,
)

TASK, OTHER = "task-01k9zzzzzzzzzzzzz1", "task-01k9zzzzzzzzzzzzz2"


def written(folder: Path, task_id: str | None, **files: str) -> Path:
    """A folder with files, and with a task's manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (files or {"weights": "w"}).items():
        (folder / name).write_text(text)
    if task_id is not None:
        manifest = Manifest(task_id=task_id, attempt=1, step=1, files=list_files(folder))
        (folder / "manifest.json").write_bytes(manifest.encode())
    return folder


def published(target: Path, task_id: str, **files: str) -> list[Path]:
    with staged(target, task_id) as new:
        written(new, task_id, **files)
        return lay(new, target, task_id)


def seen(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """What tells that nothing in a folder was changed or made anew."""
    facts = {path: os.lstat(path) for path in folder.rglob("*")}
    return {path: (fact.st_ino, fact.st_size, fact.st_mtime_ns) for path, fact in facts.items()}


# --- marks


def test_a_folder_is_marked_when_it_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    assert claim(folder, "a")
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    assert claim(folder, "a"), "again"
    assert not claim(folder, "b")
    assert owner_of(folder) == "a"
    for path in (folder / "deep", folder):
        with pytest.raises(NotOurs, match=path.name):
            remove_own(path, "b")
    remove_own(folder / "deep")
    remove_own(folder, "a")
    assert list(tmp_path.iterdir()) == []
    remove_own(folder, "a")


def test_a_folder_that_holds_something_is_not_taken_over(tmp_path: Path) -> None:
    theirs = written(tmp_path / "theirs", None)
    assert not claim(theirs, "a")
    assert not claim(theirs, TASK)
    with pytest.raises(NotOurs, match="theirs"):
        remove_own(theirs, "a")
    discard(theirs, "a")
    assert [file.name for file in theirs.iterdir()] == ["weights"]


def test_a_folder_from_before_there_were_marks_is_known_by_the_id_in_its_path(tmp_path: Path) -> None:
    scratch = written(tmp_path / "work" / TASK / "scratch" / "1", None)
    assert is_own(scratch, TASK)
    assert not is_own(scratch, OTHER)
    assert not is_own(scratch, None)
    plain = written(tmp_path / "work" / "run" / "scratch", None)
    assert not is_own(plain, "run"), "`run` is no id that we gave: anybody may call a folder so"
    assert claim(scratch, TASK)
    remove_own(tmp_path / "work" / TASK, TASK)
    assert plain.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    theirs = written(tmp_path / "theirs", None)
    scratch = tmp_path / "scratch"
    claim(scratch, "a")
    (scratch / "link").symlink_to(theirs)
    with pytest.raises(NotOurs, match="link"):
        remove_own(scratch / "link", "a")
    with pytest.raises(NotOurs, match="weights"):
        remove_own(scratch / "link" / "weights", "a")
    with pytest.raises(NotOurs):
        remove_own(scratch / ".." / "theirs", "a")
    (tmp_path / "other").symlink_to(scratch)
    with pytest.raises(NotOurs):
        remove_own(tmp_path / "other", "a")
    remove_own(scratch, "a")
    assert (theirs / "weights").read_text() == "w"
    mark = tmp_path / "mark"
    mark.write_text("a")
    (theirs / MARK).symlink_to(mark)
    assert owner_of(theirs) is None, "a mark is a file, no link to one"


def test_a_disk_that_takes_no_mark_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert not claim(tmp_path / "scratch", "a")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_only_empty_folders_are_removed_as_empty(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "c").mkdir()
    file = written(tmp_path / "a" / "c", None) / "weights"
    assert not remove_empty(tmp_path / "a")
    assert not (tmp_path / "a" / "b").exists()
    assert file.exists()


# --- results


@pytest.mark.parametrize(
    "occupy",
    [
        lambda target: written(target, None),
        lambda target: written(target, OTHER),
        lambda target: target.write_text("a file"),
        lambda target: target.symlink_to(written(target.with_name("elsewhere"), TASK)),
        lambda target: target.symlink_to(target.with_name("nowhere")),
        lambda target: written(target, None, **{"manifest.json": "{}"}),
        lambda target: (written(target, None) / "manifest.json").symlink_to(
            written(target.with_name("elsewhere"), TASK) / "manifest.json"
        ),
    ],
    ids=["nobody's", "another's", "a file", "a link to its own", "a broken link", "no true manifest", "a linked one"],
)  # fmt: skip
def test_what_is_not_the_tasks_own_is_never_replaced(
    tmp_path: Path, occupy: Callable[[Path], object]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    occupy(out / "model")
    before = seen(out)
    with pytest.raises(NotOurs, match="out/model"):
        published(out / "model", TASK)
    if not (out / "model").is_symlink():
        with pytest.raises(NotOurs):
            remove_result(out / "model", TASK)
    assert seen(out) == before
    assert not list(out.glob(".*")), "nothing of the attempt is left"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_empty_folder_and_the_tasks_own_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(results, "_exchange", lambda *_: False)
    target = tmp_path / "out" / "model"
    target.mkdir(parents=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert published(target, TASK, weights="1", older="1") == []
    (target / "notes.txt").write_text("by hand")
    left = published(target, TASK, weights="2")
    assert (target / "weights").read_text() == "2"
    assert sorted(file.name for file in target.iterdir()) == ["manifest.json", "weights"]
    assert [(file.parent.name, file.read_text()) for file in left] == [("model.kept", "by hand")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model", "model.kept", "notes.txt"]


def test_a_folder_changed_while_it_is_replaced_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    published(target, TASK)
    exchange = results._exchange

    def late(one: Path, other: Path) -> bool:
        (target / "manifest.json").unlink()
        written(target, OTHER, weights="theirs")
        return exchange(one, other)

    monkeypatch.setattr(results, "_exchange", late)
    with pytest.raises(NotOurs):
        published(target, TASK, weights="2")
    assert (writer_of(target), (target / "weights").read_text()) == (OTHER, "theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


class Killed(BaseException):
    """The process is gone: nothing after it is done, not even a clean-up."""


def killed_after(calls: int, patch: pytest.MonkeyPatch, exchange: Callable[[Path, Path], bool]) -> None:
    """Let the process end after so many calls that change a name."""
    left = [calls]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **more: object) -> object:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return call(*arguments, **more)

        return counting

    for name in ("rename", "unlink", "rmdir"):
        patch.setattr(Path, name, counted(getattr(Path, name)))
    patch.setattr(results, "_exchange", counted(exchange))
    patch.setattr(folders.shutil, "rmtree", counted(folders.shutil.rmtree))


def notes_below(folder: Path) -> int:
    return sum(path.read_text() == "by hand" for path in folder.rglob("notes.txt"))


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_crash_while_it_is_replaced_leaves_one_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """Every call that changes a name is the last one once; then the next attempt comes."""
    exchange = results._exchange if can_exchange else lambda *_: False
    is_done = False
    for calls in range(40):
        target = tmp_path / str(calls) / "model"
        published(target, TASK, weights="1")
        (target / "notes.txt").write_text("by hand")
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            killed_after(calls, patch, exchange)
            published(target, TASK, weights="2")
            is_done = True
        if can_exchange:
            assert (target / "weights").read_text() in ("1", "2"), calls
        published(target, TASK, weights="3")
        assert (target / "weights").read_text() == "3", calls
        assert notes_below(target.parent) == 1, (calls, sorted(target.parent.rglob("*")))
        assert not list(target.parent.glob(".*")), calls
        if is_done:
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_what_a_crash_left_beside_its_place_goes_without_another_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """A checkpoint of a step that is never saved again, and of a task that is removed."""
    exchange = results._exchange if can_exchange else lambda *_: False
    is_done = False
    for calls in range(40):
        target = tmp_path / str(calls) / "model"
        published(target, TASK, weights="1")
        (target / "notes.txt").write_text("by hand")
        theirs = written(target.with_name(f".model.{TASK}-2.part"), None)
        other = target.with_name(f".mine.{TASK}.part")
        other.mkdir()
        claim(tmp_path / f"elsewhere-{calls}", TASK)
        written(tmp_path / f"elsewhere-{calls}" / "new", TASK)
        link = target.with_name(f".link.{TASK}.part")
        link.symlink_to(tmp_path / f"elsewhere-{calls}")
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            killed_after(calls, patch, exchange)
            published(target, TASK, weights="2")
            is_done = True
        finish_removals(target.parent, TASK)
        assert (target / "weights").read_text() in ("1", "2"), calls
        assert notes_below(target.parent) == 1, calls
        assert sorted(target.parent.glob(".*")) == sorted([theirs, other, link]), calls
        assert (link / "new" / "weights").exists(), "no link is followed"
        if is_done:
            return
    raise AssertionError("it never came to its end")


def test_a_crash_while_it_is_removed_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_done = False
    for calls in range(40):
        folder = written(tmp_path / str(calls) / "checkpoint-5", TASK, weights="1", other="2")
        (folder / "notes.txt").write_text("by hand")
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            killed_after(calls, patch, lambda *_: False)
            remove_result(folder, TASK)
            is_done = True
        assert notes_below(folder.parent) == 1
        finish_removals(folder.parent, TASK)
        if writer_of(folder) is not None:  # it had not begun
            remove_result(folder, TASK)
        assert list(folder.parent.rglob("*")) == [folder, folder / "notes.txt"], calls
        if is_done:
            return
    raise AssertionError("it never came to its end")


def test_of_a_removed_result_stays_what_others_laid_there(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint-5", TASK, weights="w", other="o")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("by hand")
    assert remove_result(folder, TASK) == [folder / "mine" / "notes.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert remove_result(written(tmp_path / "checkpoint-6", TASK), TASK) == []
    assert not (tmp_path / "checkpoint-6").exists()
    assert remove_result(tmp_path / "checkpoint-7", TASK) == []


@pytest.mark.parametrize("path", ["../theirs/weights", "link/weights"])
def test_a_manifest_that_names_what_lies_elsewhere_removes_nothing_there(tmp_path: Path, path: str) -> None:
    theirs = written(tmp_path / "theirs", None)
    folder = written(tmp_path / "checkpoint-5", TASK)
    (folder / "link").symlink_to(theirs)
    text = (folder / "manifest.json").read_text().replace('"weights"', f'"{path}"')
    (folder / "manifest.json").write_text(text.replace(str(tmp_path), str(tmp_path)))
    remove_result(folder, TASK)
    assert (theirs / "weights").exists()


def test_a_stage_that_is_not_ours_is_left(tmp_path: Path) -> None:
    stages = [written(tmp_path / f".model.{TASK}{token}.part", None) for token in ("", "-0123abcd")]
    published(tmp_path / "model", TASK)
    finish_removals(tmp_path, TASK)
    assert all((stage / "weights").exists() for stage in stages)


def test_a_process_that_was_frozen_writes_into_no_other_ones_stage(tmp_path: Path) -> None:
    """It may wake on another machine, long after its attempt was given up: what it adds must get into nothing."""
    target = tmp_path / "model"
    with staged(target, TASK) as frozen:
        (frozen / "weights").write_text("of the first attempt")
        with staged(target, TASK) as new:
            assert frozen.exists(), "its process lives"
            (frozen / "late").write_text("of the first attempt")
            written(new, TASK, weights="of the second")
            lay(new, target, TASK)
        finish_removals(tmp_path, TASK)
        assert frozen.exists()
    assert sorted(path.name for path in target.iterdir()) == ["manifest.json", "weights"]
    assert (target / "weights").read_text() == "of the second"
    assert sorted(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("clear", [lambda folder: published(folder / "model", TASK), lambda folder: None])
def test_what_a_dead_process_left_goes_also_where_it_was_made_before_stages_had_tokens(
    tmp_path: Path, clear: Callable[[Path], object]
) -> None:
    for name in (f".model.{TASK}.part", f".model.{TASK}-0123abcd.part"):
        claim(tmp_path / name, TASK)
        (tmp_path / name / "new").mkdir()
        (tmp_path / name / "new" / "weights").write_text("half")
    clear(tmp_path)
    finish_removals(tmp_path, TASK)
    assert not list(tmp_path.glob(".*"))


# --- files


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    target = tmp_path / "curves.csv"
    beside = [tmp_path / ".curves.csv.part", tmp_path / "curves.csv.part"]
    for file in beside:
        file.write_text("mine")
    with new_file(target) as stream:
        stream.write(b"1")
        assert not target.exists()
    with pytest.raises(NotOurs, match=r"curves\.csv"), new_file(target):
        raise AssertionError("not begun")
    with new_file(target, overwrite=True) as stream:
        stream.write(b"2")
    with contextlib.suppress(KeyError), new_file(target, overwrite=True) as stream:
        stream.write(b"3")
        raise KeyError
    late = tmp_path / "late.csv"
    with pytest.raises(NotOurs), new_file(late) as stream:
        late.write_text("mine")
    assert (target.read_bytes(), late.read_text()) == (b"2", "mine")
    assert sorted(tmp_path.iterdir()) == sorted([target, late, *beside])
    assert [file.read_text() for file in beside] == ["mine", "mine"]
