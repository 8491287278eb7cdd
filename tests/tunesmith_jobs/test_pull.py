"""Pulls as tasks: how far they are, what a stop leaves, and that no token is written anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_jobs import Ear
from model_hub import NAME, ModelHub, model_hub

from tunesmith.events import JobPayload
from tunesmith.lifecycle import Desired, Reason
from tunesmith.model_folder import check_model_folder, hub_revision
from tunesmith.outcome import Outcome
from tunesmith.pull_job import PullDocument
from tunesmith.spec.pull import PullSpec
from tunesmith_jobs.models import pull as pulling
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.pull import program
from tunesmith_jobs.worker import do


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ModelHub]]:
    monkeypatch.setattr(program, "_SAID_SECONDS", 0.0)
    with model_hub(model, tmp_path / "cache", monkeypatch) as found:
        yield found


def pulled(models: Path, ear: Ear | None = None, **spec: Any) -> tuple[Outcome, Ear]:
    ear = ear or Ear()
    document = PullDocument(
        task_id="task-1",
        attempt=1,
        kind="pull",
        name="pull",
        spec=PullSpec.read({"repo_id": NAME} | spec).model_dump(mode="json"),
        api_url="",
        token="",
        work_dir=str(models.parent / "work"),
        submitted_at="2026-11-30T00:00:00Z",
        models_dir=str(models),
        environment=["HF_TOKEN"],
    )
    return do(Attempt.of(document), ear), ear


def test_a_model_comes_with_its_progress_and_its_revision(
    hub: type[ModelHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    outcome, ear = pulled(tmp_path / "models", revision="v2")
    assert outcome.reason is Reason.COMPLETED, outcome
    folder = tmp_path / "models" / "small"
    check_model_folder(folder)
    assert hub_revision(folder) == hub.sha
    steps = [one.step for one in ear.heard if one.kind == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] == 1000
    assert len(set(steps)) > 2, "it is seen on its way"
    assert {who for path, who in hub.asked if NAME in path} == {"Bearer hf_secret"}
    assert "hf_secret" not in json.dumps([one.model_dump(mode="json") for one in ear.heard])
    assert pulled(tmp_path / "models", revision="v2")[0].reason is Reason.COMPLETED, "it is there"
    other, _ = pulled(tmp_path / "models", revision="main")
    assert other.reason is Reason.BAD_PARAMETERS
    assert "not as it is at `main`" in other.message


class Stopping(Ear):
    """Wants a stop once something has come."""

    def emit(self, payload: JobPayload, time: Any = None) -> None:
        super().emit(payload, time)
        if payload.kind == "progress":
            self.desired = Desired.STOP


def test_a_stop_ends_it_on_the_way_and_leaves_nothing(hub: type[ModelHub], tmp_path: Path) -> None:
    hub.pause = 0.02
    outcome, ear = pulled(tmp_path / "models", Stopping())
    assert outcome.reason is Reason.STOPPED_BY_USER, outcome
    assert [one.step for one in ear.heard if one.kind == "progress"][-1] < 1000
    assert list((tmp_path / "models").iterdir()) == []
    hub.pause = 0.0
    assert pulled(tmp_path / "models")[0].reason is Reason.COMPLETED


def test_a_disk_that_is_too_small_is_told_before_a_byte_comes(
    hub: type[ModelHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    outcome, _ = pulled(tmp_path / "models")
    assert outcome.reason is Reason.BAD_PARAMETERS
    assert "GB are free where models lie" in outcome.message
    assert not [path for path, _ in hub.asked if "/resolve/" in path]


@pytest.mark.parametrize(
    ("name", "words"), [("someone/gated", "accepted its terms"), ("someone/none", "no model")]
)
def test_what_the_hub_refuses_is_the_users_to_cure(
    hub: type[ModelHub], tmp_path: Path, name: str, words: str
) -> None:
    outcome, _ = pulled(tmp_path / "models", repo_id=name)
    assert outcome.reason is Reason.BAD_PARAMETERS
    assert words in outcome.message
    assert list((tmp_path / "models").iterdir()) == []
