"""S3 answers nobody for some seconds in the middle of a training, an evaluation and a package: nothing is lost."""

import datetime as dt
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from compared import Asked
from compared import Trained as Compared
from data_jobs import Ear
from real_s3 import S3Server, real_s3
from stored_results import is_whole
from trained import Trained

from tunesmith.events import JobPayload
from tunesmith.lifecycle import Reason, State
from tunesmith.storage import open_storage

pytestmark = [pytest.mark.slow, pytest.mark.long]

SECONDS = 5.0


class Pause:
    """S3 takes connections and answers none, once, when it is called for the first time."""

    def __init__(self, server: S3Server) -> None:
        self._pid = server.process.pid
        self._timer: threading.Timer | None = None

    def __call__(self) -> None:
        if self._timer is None:
            os.kill(self._pid, signal.SIGSTOP)
            self._timer = threading.Timer(SECONDS, os.kill, (self._pid, signal.SIGCONT))
            self._timer.start()

    def was(self) -> bool:
        """Whether it was away, and is back."""
        if self._timer is None:
            return False
        self._timer.join()
        return True


class Pausing(Ear):
    """Has S3 go away at the first word of a job."""

    def __init__(self, pause: Pause) -> None:
        super().__init__()
        self._pause = pause

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        super().emit(payload, time)
        self._pause()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with real_s3(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def pause(server: S3Server) -> Iterator[Pause]:
    made = Pause(server)
    yield made
    assert made.was(), "it was away in the middle"


def test_a_training_goes_on(
    tmp_path: Path, model: Path, server: S3Server, pause: Pause, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tr.FileOutlet.emit

    def emit(outlet: Any, payload: Any, *given: Any) -> None:
        real(outlet, payload, *given)
        if payload.kind == "checkpoint":
            pause()

    monkeypatch.setattr(tr.FileOutlet, "emit", emit)
    place = f"{server.uri}/{tmp_path.name}"
    outcome = tr.run(tmp_path, model, artifacts=place, max_steps=16, save_steps=4)
    assert outcome.outcome is State.COMPLETED, outcome
    assert sorted(tr.losses(tmp_path, 1)) == list(range(1, 17))
    for step in tr.saved(tmp_path):
        assert is_whole(f"{place}/checkpoints/checkpoint-{step}")


def test_an_evaluation_goes_on(
    tmp_path: Path, model: Path, server: S3Server, pause: Pause, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Compared(tmp_path, model)
    place = f"{server.uri}/{tmp_path.name}"
    open_storage(place).put_folder(Path(trained.artifacts), "trained")
    trained.artifacts = f"{place}/trained"
    asked = Asked(tmp_path / "asked", trained, monkeypatch)
    asked.artifacts, asked.on_shard = f"{place}/report", pause
    outcome = asked.run()
    assert outcome.outcome is State.COMPLETED, outcome
    assert [one.candidate.step for one in asked.result.candidates] == [0, 4, 8]


def test_a_package_goes_on(tmp_path: Path, model: Path, server: S3Server, pause: Pause) -> None:
    made = Trained(tmp_path / "run", model)
    place = f"{server.uri}/{tmp_path.name}"
    open_storage(place).put_folder(Path(str(made.outcome.model_uri)), "model")
    made.outcome = made.outcome.model_copy(update={"model_uri": f"{place}/model"})
    made.packaged = place
    ear = Pausing(pause)
    outcome = made.use("package", ear, preset="lora_only")[0]
    assert outcome.reason is Reason.COMPLETED, outcome
    assert is_whole(str(outcome.model_uri))
