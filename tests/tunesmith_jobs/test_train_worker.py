"""What one of several workers leaves when it ends: whose word counts, and that none waits for one that has failed."""

from pathlib import Path
from typing import Any

import pytest
from fake_plane import make_document

from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs import attempt, worker
from tunesmith_jobs.document import read_outcome, write_outcome
from tunesmith_jobs.failures import PeerLost
from tunesmith_jobs.train.program import Training

FULL = Outcome.because(Reason.DISK_FULL, "the disk is full")
LOST = Outcome.because(Reason.USER_CODE, "connection closed by peer")
STOPPED = Outcome.because(Reason.STOPPED_BY_USER, "after step 3")
COMPLETED = Outcome.because(Reason.COMPLETED)


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ((STOPPED, FULL), STOPPED),
        ((FULL, STOPPED), STOPPED),
        ((COMPLETED, LOST), COMPLETED),
        ((FULL, LOST), FULL),
        ((FULL,), FULL),
    ],
)
def test_an_end_in_order_counts_and_else_the_first_failure(
    tmp_path: Path, written: tuple[Outcome, ...], counts: Outcome
) -> None:
    document = make_document(tmp_path, "-")
    Path(document.work_dir).mkdir()
    for outcome in written:
        write_outcome(document, outcome)
    assert read_outcome(document) == counts
    assert [file.name for file in Path(document.work_dir).iterdir()] == ["outcome-1.json"]


@pytest.mark.parametrize(("rank", "world", "raises"), [(0, 2, True), (1, 2, True), (0, 1, False)])
def test_of_several_workers_one_that_failed_has_ray_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, world: int, raises: bool
) -> None:
    """The first one too: the others would wait for its next message. Alone, its outcome is all there is to say."""
    model = str(tmp_path)
    document = make_document(
        tmp_path, "http://127.0.0.1:9", spec={"model_name_or_path": model, "train_file": model}
    )
    (tmp_path / "job.json").write_text(document.model_dump_json())
    monkeypatch.setattr(attempt, "_DRAIN_SECONDS", 0.0)
    ends: list[Any] = [FULL]
    monkeypatch.setattr(Training, "work", lambda *_: ends.pop())
    uri = str(tmp_path / "job.json")
    if raises:
        with pytest.raises(RuntimeError, match="the disk is full"):
            worker.work(uri, rank, world)
    else:
        worker.work(uri, rank, world)
    assert read_outcome(document) == FULL
    worker.work(uri, rank, world)  # started again: it is over


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_whose_peer_is_gone_leaves_no_end_of_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """It hears of the loss of a node before Ray does: Ray starts the workers again, which go on from a checkpoint."""
    document = make_document(
        tmp_path,
        "http://127.0.0.1:9",
        spec={"model_name_or_path": str(tmp_path), "train_file": str(tmp_path)},
    )
    (tmp_path / "job.json").write_text(document.model_dump_json())
    monkeypatch.setattr(attempt, "_DRAIN_SECONDS", 0.0)

    def lose(*_: Any) -> Outcome:
        raise RuntimeError(
            "[/src/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:34689"
        )

    monkeypatch.setattr(Training, "work", lose)
    with pytest.raises(PeerLost, match="closed by peer"):
        worker.work(str(tmp_path / "job.json"), rank, 2)
    assert read_outcome(document) is None
