"""Every place where a job removes something: what others laid there, or behind a link, survives.

Retention, publishing and scratch of a training are tested with real runs: `test_train_output`.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from attempts import DOCUMENTS, NOBODY
from fake_plane import make_document

from tunesmith.artifacts import Manifest, list_files
from tunesmith.errors import NotOurs, Unavailable
from tunesmith.lifecycle import Reason, State
from tunesmith.outcome import Outcome
from tunesmith.probe import ProbeDocument
from tunesmith.removal import claim
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs import attempt, entry, probe, worker
from tunesmith_jobs.batches.token_cache import TokenCache
from tunesmith_jobs.data.operations import run
from tunesmith_jobs.models import pull as pulling
from tunesmith_jobs.program import Attempt, program_of
from tunesmith_jobs.report import Reporter
from tunesmith_jobs.train.checkpoint.resume import fetch_checkpoint

DONE = Outcome.because(Reason.COMPLETED)


def by_hand(*places: Path) -> list[Path]:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("by hand")
    return list(places)


def survive(places: list[Path]) -> None:
    assert [place for place in places if not place.exists() or place.read_text() != "by hand"] == []


class Heard(Reporter):
    """Reports to nobody."""

    def drain(self, timeout: float) -> bool:
        return True

    def wait_heard(self, timeout: float) -> bool:
        return True


@pytest.mark.parametrize("name", ["task-01k9zzzzzzzzzzzzzz", "task-1"], ids=["an id that we gave", "another"])
def test_the_end_of_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of a folder that was there before it, only the path can tell whose it is."""
    monkeypatch.setattr(entry, "Reporter", Heard)
    spec = {"model_name_or_path": "m", "train_file": "/t"}
    document = make_document(tmp_path, "http://127.0.0.1:9", spec=spec).model_copy(
        update={"task_id": name, "work_dir": str(tmp_path / "work" / name)}
    )
    work = Path(document.work_dir)
    theirs = by_hand(work / "notes.txt", work / "scratch" / "2" / "x", work.with_name("mine") / "x")
    elsewhere = by_hand(tmp_path / "elsewhere" / "x")
    before = by_hand(work / "scratch" / "1" / "weights")
    (work / "ray").symlink_to(elsewhere[0].parent)
    assert entry.run_attempt(Attempt.of(document), document.submitted_at, lambda _: DONE) == 0
    survive(theirs + elsewhere)
    if name == "task-1":
        survive(before)
    else:
        assert not (work / "scratch" / "1").exists()


@pytest.mark.parametrize("kind", ["train", "generate"])
def test_the_scratch_of_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(attempt, "_DRAIN_SECONDS", 0.0)
    document = DOCUMENTS[kind](tmp_path, NOBODY)
    document = document.model_copy(update={"work_dir": str(tmp_path / "work" / document.task_id)})
    (tmp_path / "job.json").write_text(document.model_dump_json())
    scratch = Path(document.work_dir) / "scratch" / "1"
    theirs = by_hand(scratch / "weights")
    monkeypatch.setattr(program_of(kind).__class__, "work", lambda *_: DONE)
    assert worker.work(str(tmp_path / "job.json")).outcome is State.COMPLETED
    survive(theirs)
    theirs[0].unlink()
    (Path(document.work_dir) / "outcome-1.json").unlink()
    worker.work(str(tmp_path / "job.json"))
    assert not scratch.exists(), "its own goes"


def test_the_rows_of_an_operation(tmp_path: Path) -> None:
    from tunesmith.spec.dataset import read_operation

    rows = tr.write_lines(tmp_path / "a.jsonl", [{"n": 1}])
    spec = read_operation("shuffle", {"dataset": str(rows)})
    target = tmp_path / "rows"
    neighbours = by_hand(tmp_path / "rows.part" / "x", tmp_path / "rows.old" / "x")
    run(spec, target, owner="task-1")
    run(spec, target, owner="task-1")
    for owner in ("task-2", "task-1"):
        theirs = by_hand(tmp_path / owner / "rows" / "x")
        with pytest.raises(NotOurs, match="rows"):
            run(spec, theirs[0].parent, owner=owner)
        survive(theirs)
    with pytest.raises(NotOurs):
        run(spec, target, owner="task-2")
    given = tmp_path / "pipe-01k9zzzzzzzzzzzzzz" / "0-1"
    given.mkdir(parents=True)
    (given / "data.jsonl").write_text("of an attempt from before there were marks")
    run(spec, given, owner="task-1")
    assert json.loads((given / "data.jsonl").read_text()) == {"n": 1}
    survive(neighbours)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_pulling_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str, part: Path, __: pulling.Wish) -> None:
        by_hand(part / ".cache" / "x")
        raise Unavailable("away")

    monkeypatch.setattr(pulling, "_from_hub", away)
    theirs = by_hand(tmp_path / ".small.part" / "x", tmp_path / "other" / "model.safetensors")
    with pytest.raises(Unavailable):
        pulling.pull("someone/small", tmp_path, print)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".small.part", "other"], (
        "what it began is gone"
    )
    theirs += by_hand(tmp_path / ".small.models-pull.part" / "x")
    with pytest.raises(Unavailable):
        pulling.pull("someone/small", tmp_path, print)
    survive(theirs)


def test_the_token_cache(tmp_path: Path, model: Path) -> None:
    """In a folder that its user named, with other files in it."""
    tokens = tmp_path / "tokens"
    theirs = by_hand(
        tokens / "project" / "entry.json",
        tokens / "notes.lock",
        tokens / "mine.digest",
        tokens / ("a" * 64 + ".txt"),
        tokens / ("b" * 64) / "entry.json",
        tokens / ("b" * 64) / "thesis.tex",
    )
    for file in theirs:
        os.utime(file, (1, 1))
    old = tokens / ("c" * 64)
    by_hand(
        old / "entry.json", old / "ids.bin", tokens / ("c" * 64 + ".lock"), tokens / ("d" * 32 + ".digest")
    )
    os.utime(tokens / ("d" * 32 + ".digest"), (1, time.time() - 31 * 86_400))
    source = tr.source(tr.write_rows(tmp_path / "t.jsonl", 4), model)
    assert TokenCache(tokens, limit_bytes=1).load(source, lambda *_: None).use == "filled"
    survive(theirs)
    assert not old.exists(), "an entry from before there were marks"
    assert not (tokens / ("d" * 32 + ".digest")).exists()
    entries = [path for path in tokens.iterdir() if path.is_dir() and (path / "ids.bin").is_file()]
    (entry_,) = entries
    for file in entry_.iterdir():
        file.write_text("by hand")
    (entry_ / ".tunesmith-made").unlink()
    taken = by_hand(entry_ / "thesis.tex")
    loaded = TokenCache(tokens).load(source, lambda *_: None)
    assert loaded.use == "off", "its place is taken: the rows are read all the same"
    survive(theirs + taken)


def test_a_measurement(tmp_path: Path, model: Path) -> None:
    rows = tr.write_rows(tmp_path / "t.jsonl", 4)
    spec = TrainSpec.read({"model_name_or_path": str(model), "train_file": str(rows)})
    document = ProbeDocument(
        id="measure-1",
        spec=spec.model_dump(mode="json"),
        model_path=str(model),
        train_path=str(rows),
        work_dir=str(tmp_path / "work"),
        limit_seconds=10,
    )
    theirs = by_hand(tmp_path / "work" / "rows.jsonl", tmp_path / "work" / "scratch" / "x")
    with pytest.raises(NotOurs, match="work"):
        probe.measure(document)
    survive(theirs)


def test_a_state_that_is_fetched(tmp_path: Path) -> None:
    given = tmp_path / "checkpoint-5"
    given.mkdir()
    (given / "weights").write_text("w")
    manifest = Manifest(task_id="t", attempt=1, step=5, files=list_files(given))
    (given / "manifest.json").write_bytes(manifest.encode())
    theirs = by_hand(tmp_path / "scratch" / "checkpoint-5" / "weights")
    with pytest.raises(NotOurs, match="scratch"):
        fetch_checkpoint(str(given), tmp_path / "scratch")
    survive(theirs)
    claim(tmp_path / "own", "t")
    for _ in range(2):
        assert fetch_checkpoint(str(given), tmp_path / "own")[0] == 5


def test_a_data_jobs_work_folder(tmp_path: Path) -> None:
    from tunesmith.data_step import DataDocument

    rows = tr.write_lines(tmp_path / "a.jsonl", [{"n": 1}])
    base: dict[str, Any] = make_document(tmp_path, "http://127.0.0.1:9").model_dump()
    document = DataDocument.model_validate(
        base
        | {"kind": "dataset", "operation": "shuffle", "parameters": {"dataset": str(rows)}}
        | {"work_dir": str(tmp_path / "work"), "rows_dir": str(tmp_path / "rows")}
    )
    theirs = by_hand(tmp_path / "work" / "notes.txt")
    (tmp_path / "job.json").write_text(document.model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "Reporter", Heard)
        patch.setattr(attempt, "Reporter", Heard)
        assert entry.main(str(tmp_path / "job.json")) == 0
    survive(theirs)
    assert (tmp_path / "rows" / "data.jsonl").is_file()
