"""The storage is away while a job reads from it or brings something there: that is why it ends, and it is tried again.

Any other reason would be the user's: nobody would try again, and the user would look for a fault of theirs.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from attempts import DOCUMENTS, NOBODY
from compared import Asked
from compared import Trained as Compared
from data_jobs import Ear
from kept_outlet import KeptOutlet
from trained import Trained

from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs.attempt import guarded
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do

AWAY = "s3://bucket/of/nobody"
SERVER = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-nobody",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""A server that takes no connection."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    return Trained(tmp_path_factory.mktemp("away") / "run", model)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Compared:
    return Compared(tmp_path_factory.mktemp("away"), model)


@pytest.fixture(autouse=True)
def _nobody_answers(monkeypatch: pytest.MonkeyPatch, made: Trained, compared: Compared) -> None:
    for name, value in SERVER.items():
        monkeypatch.setenv(name, value)


class Place:
    """Where a job is asked to work."""

    def __init__(self, folder: Path, made: Trained, compared: Compared, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.made, self.compared = copy.copy(made), copy.copy(compared)

    def use(self, kind: str, **given: Any) -> Outcome:
        return self.made.use(kind, Ear(), **given)[0]

    def taking(self, kind: str, **given: Any) -> Outcome:
        self.made.outcome = self.made.outcome.model_copy(update={"model_uri": f"{AWAY}/model"})
        return self.use(kind, **given)

    def bringing(self, kind: str, **given: Any) -> Outcome:
        self.made.packaged = AWAY
        return self.use(kind, **given)

    def compare(self, *, taken: bool) -> Outcome:
        asked = Asked(self.folder, self.compared, self.patch)
        if taken:
            self.compared.artifacts = AWAY
        else:
            asked.artifacts = AWAY
        return guarded(KeptOutlet(), asked.run, source="worker-0", scratch=self.folder)

    def train(self, **given: Any) -> Outcome:
        return guarded(
            KeptOutlet(),
            lambda: tr.run(self.folder, self.made.base, max_steps=2, **given),
            source="worker-0",
            scratch=self.folder,
        )

    def attempt(self, kind: str, **change: Any) -> Outcome:
        document = DOCUMENTS[kind](self.folder, NOBODY).model_copy(update=change)
        return do(Attempt.of(document), KeptOutlet())

    def store(self) -> Outcome:
        rows = tr.write_rows(self.folder / "rows.jsonl", 4)
        return self.attempt("dataset", store_uri=AWAY, parameters={"dataset": str(rows)})


CASES: dict[str, Callable[[Place], Outcome]] = {
    "a loss is measured of a model there": lambda at: at.taking("evaluate"),
    "a model there writes": lambda at: at.taking("generate", prompts=["q"]),
    "a model there is packaged": lambda at: at.taking("package", preset="merge_only"),
    "a package is brought there": lambda at: at.bringing("package", preset="lora_only"),
    "checkpoints there are compared": lambda at: at.compare(taken=True),
    "a report is brought there": lambda at: at.compare(taken=False),
    "what is there is uploaded": lambda at: at.attempt("upload", model_uri=f"{AWAY}/model"),
    "rows are kept there": lambda at: at.store(),
    "a training begins there": lambda at: at.train(artifacts=AWAY),
    "a training goes on from there": lambda at: at.train(resume_from_checkpoint=f"{AWAY}/checkpoint-4"),
    "a LoRA there is trained on": lambda at: at.train(attach_lora=True, attach_lora_path=f"{AWAY}/lora"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_storage_that_is_away_is_the_reason(
    tmp_path: Path, made: Trained, compared: Compared, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    outcome = CASES[case](Place(tmp_path, made, compared, monkeypatch))
    assert outcome.reason is Reason.STORAGE, outcome
    assert "a-secret-of-nobody" not in str(outcome)
