"""A model that was trained for real, without Ray, and the steps that use it. No test itself."""

from pathlib import Path
from typing import Any

from data_jobs import Ear
from training_run import events, losses, run, write_rows

from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.kinds import kind_of
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do

SMALL = {"max_steps": 4, "save_steps": 4, "eval_strategy": "steps", "eval_steps": 4, "learning_rate": 3e-3}


class Trained:
    """A run in a folder, and the steps that use its model."""

    def __init__(self, folder: Path, model: Path, **spec: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.base = folder, model
        self.packaged = str(folder / "packaged")
        """Where what is made of it goes."""
        self.held_out = spec.pop("held_out", None) or write_rows(folder / "eval.jsonl", 9, seed=7)
        self.spec: dict[str, Any] = SMALL | {"seed": 3, "precision": "fp32"} | spec
        self.outcome = run(
            folder, model, eval_rows=str(self.held_out), eval_file=str(self.held_out), **self.spec
        )
        assert self.outcome.reason == "completed", self.outcome
        self.is_lora = spec.get("use_lora", True)

    def use(self, kind: str, ear: Ear | None = None, **given: Any) -> tuple[Outcome, Ear, ModelDocument]:
        """Do a step's work as a worker does it."""
        before, converter = given.pop("made_before", []), given.pop("converter", [])
        spec = kind_of(kind).spec.read({"model": str(self.outcome.model_uri)} | given)
        whole = not self.is_lora or self.spec.get("merge_lora_after_training")
        uri = str(self.outcome.model_uri)
        training = spec.as_training(
            self.spec,
            base=uri if whole else str(self.base),
            adapter=None if whole else uri,
            data=str(self.held_out),
        )
        document = ModelDocument(
            task_id="task-2",
            attempt=1,
            kind=kind,
            name="step",
            spec=spec.model_dump(mode="json"),
            api_url="",
            token="",
            work_dir=str(self.folder / "work"),
            submitted_at="2026-11-21T00:00:00Z",
            model_uri=uri,
            step=4,
            training=training.model_dump(mode="json"),
            encoder_path=uri if whole else str(self.base),
            data_path=given.get("dataset") or (None if given.get("prompts") else str(self.held_out)),
            rows_dir=str(self.folder / "rows"),
            artifact_uri=self.packaged,
            origin={
                "base": str(self.base),
                "task_id": "task-1",
                "task_name": "run",
                "datasets": ["support@1"],
            },
            classes=self.classes,
            made_before=before,
            converter=converter,
        )
        ear = ear or Ear()
        return do(Attempt.of(document), ear), ear, document

    @property
    def classes(self) -> list[str]:
        started = next(event for event in events(self.folder) if event["kind"] == "training_started")
        return started["facts"].get("classes", [])

    def last(self, name: str) -> float:
        return list(losses(self.folder, name=name).values())[-1]
