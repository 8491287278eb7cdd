"""A tiny task of two checkpoints, and evaluations of it in one process. No test itself."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from here import Here
from kept_outlet import KeptOutlet

from tunesmith.evaluation.document import CandidateDocument, EvaluationDocument
from tunesmith.evaluation.results import Candidate, EvaluationResult
from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith.events import JobPayload, Warned
from tunesmith.lifecycle import State
from tunesmith.outcome import Outcome
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage
from tunesmith_jobs.evaluate import comparing, shard
from tunesmith_jobs.model_work import Work

CHINESE = re.compile(r"[\u4e00-\u9fff]")
TASK = "task-01k9zzzzzzzzzzzzz1"
SAMPLES = [
    ("What is two plus two?", "It is four."),
    ("Name a colour.", "Blue is a colour."),
    ("你好吗？", "我很好，谢谢。"),
    ("Say yes.", "Yes."),
    ("Where is Rome?", "Rome is in Italy."),
    ("How many days has a week?", "A week has seven days."),
]


class Trained:
    """A tiny model, and a task of two checkpoints over it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.artifacts = str(folder / "artifacts")
        """Where its checkpoints are taken from."""
        assert tr.run(folder, model, max_steps=8, save_steps=4).outcome is State.COMPLETED
        self.spec = TrainSpec.read(
            {
                "model_name_or_path": str(model),
                "train_file": str(folder / "train.jsonl"),
                "target_modules": "all-linear",
                "precision": "fp32",
            }
        ).model_dump(mode="json")

    def candidate(self, step: int | None, **more: Any) -> CandidateDocument:
        """A checkpoint; the base where no step is given."""
        uri = self.model if step is None else f"{self.artifacts}/checkpoints/checkpoint-{step}"
        training = self.spec | {"use_lora": False}
        if step is not None:
            training = self.spec | {"attach_lora": True, "attach_lora_path": str(uri)}
        key = "base" if step is None else f"{TASK}/checkpoint-{step}"
        return CandidateDocument(
            candidate=Candidate(key=key, label=key, step=step or 0, uri=str(uri), is_base=step is None,
                                task_id=None if step is None else TASK),
            training=training,
            encoder_path=str(self.model),
            base_path=str(self.model),
            **more,
        )  # fmt: skip


class Asked:
    """Evaluations in one folder, with what each asked of the model."""

    def __init__(self, folder: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.trained = folder, trained
        self.generated = 0
        self.artifacts = str(folder / "artifacts")
        """Where the report goes."""
        self.on_shard: Callable[[], None] = lambda: None
        self.outlet = KeptOutlet()
        real = shard.run

        def counted(order: dict[str, Any]) -> dict[str, Any]:
            self.on_shard()
            found = real(order)
            self.generated += len(order["questions"])
            return found

        monkeypatch.setattr(shard, "run", counted)
        self.write(SAMPLES)

    def write(self, samples: list[tuple[str, str]], train: list[tuple[str, str]] | None = None) -> None:
        parts = {"validation": samples, "train": train or []}
        made = {name: [{"prompt": p, "completion": c} for p, c in part] for name, part in parts.items()}
        (self.folder / "samples.json").write_text(json.dumps(made, ensure_ascii=False))

    def run(
        self,
        candidates: list[CandidateDocument] | None = None,
        attempt: int = 1,
        scorers: Path | None = None,
        judge: JudgeSettings | None = None,
        **spec: Any,
    ) -> Outcome:
        given = {"task_id": TASK, "checkpoints": ["all"], "max_new_tokens": 6, "embedder": "none"} | spec
        read = EvaluateSpec.read(given)
        candidates = candidates or [self.trained.candidate(step) for step in (None, 4, 8)]
        document = EvaluationDocument(
            task_id=TASK, attempt=attempt, kind="evaluate", name="eval", spec=read.model_dump(mode="json"),
            api_url="http://127.0.0.1:1", token="none", work_dir=str(self.folder / "work" / TASK),
            submitted_at="2026-01-01T00:00:00Z", model_uri=candidates[0].candidate.uri,
            training=candidates[0].training, encoder_path=candidates[0].encoder_path,
            artifact_uri=self.artifacts, candidates=candidates,
            samples_path=str(self.folder / "samples.json"),
            scorers_path=str(scorers) if scorers else None,
            judge=judge,
        )  # fmt: skip
        work = Work(document, self.outlet, self.folder / "work" / TASK / "scratch" / str(attempt))
        return comparing.compare(work, read, Here(), use_gpu=False)

    @property
    def result(self) -> EvaluationResult:
        data = open_storage(self.artifacts).read("evaluation/result.json")
        assert data is not None
        return EvaluationResult.model_validate_json(data)

    def warned(self) -> list[str]:
        """The codes of all warnings; each is in the result too, in both languages."""
        told, kept = self.said(Warned), {text.en: text.zh for text in self.result.warnings}
        assert all(CHINESE.search(kept[one.message]) for one in told)
        return [one.code for one in told]

    def said(self, kind: type[JobPayload]) -> list[Any]:
        return [one for one in self.outlet.said if isinstance(one, kind)]


def without_effect(asked: Asked, tmp_path: Path) -> CandidateDocument:
    """An adapter of which no number differs from its base's."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    whole = asked.trained.candidate(8)
    folder = tmp_path / "same"
    shutil.copytree(whole.candidate.uri, folder)
    (folder / "manifest.json").unlink()
    file = folder / "adapter_model.safetensors"
    tensors = {
        name: torch.zeros_like(tensor) if "lora_B" in name else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file)
    return whole.model_copy(
        update={
            "candidate": whole.candidate.model_copy(
                update={"key": "same", "label": "same", "uri": str(folder)}
            ),
            "training": whole.training | {"attach_lora_path": str(folder)},
        }
    )
