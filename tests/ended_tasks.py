"""Tasks that saved something and are over, and the folders that they left."""

from pathlib import Path
from typing import Any

from conftest_platform import LOCAL, Plane

from tunesmith.artifacts import Manifest, list_files
from tunesmith.errors import ErrorResponse
from tunesmith.lifecycle import Reason
from tunesmith.spec.training import TrainSpec
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.inputs import TrainInputs

SPEC = {"model_name_or_path": "m", "train_file": "/t"}


def look_at_little(plane: Plane) -> None:
    """Let tasks be given what is not there; only the paths are taken over."""

    def look(_scope: Scope, spec: TrainSpec) -> TrainInputs:
        model = spec.model_name_or_path if spec.model_name_or_path.startswith("/") else "/m"
        return TrainInputs(model_path=model, train_path=spec.train_file, output_dir=spec.output_dir)

    plane.training.look_at = look


def error_of(reply: Any) -> Any:
    return ErrorResponse.model_validate(reply.json()).error


def folder(plane: Plane, task: TaskView, place: str, task_id: str | None = None) -> Path:
    """A checkpoint's or a model's folder with its manifest."""
    path = Path(plane.task(task.id).artifact_uri or "") / place if not place.startswith("/") else Path(place)
    path.mkdir(parents=True)
    (path / "weights").write_text("w")
    manifest = Manifest(task_id=task_id or task.id, attempt=1, step=1, files=list_files(path))
    (path / "manifest.json").write_bytes(manifest.encode())
    return path


def saved(plane: Plane, task: TaskView, step: int, attempt: int = 1) -> Path:
    path = folder(plane, task, f"checkpoints/checkpoint-{step}")
    event = {"kind": "checkpoint", "step": step, "uri": str(path), "bytes": 1, "files": 1}
    plane.report(task, event | {"manifest_sha256": "0" * 64}, attempt=attempt)
    return path


def end(
    plane: Plane, task: TaskView, reason: Reason = Reason.COMPLETED, attempt: int = 1, **more: Any
) -> None:
    outcome = {Reason.COMPLETED: "completed", Reason.STOPPED_BY_USER: "stopped"}.get(reason, "failed")
    if reason is Reason.STOPPED_BY_USER:
        plane.services.tasks.stop(LOCAL, task.id)
    plane.report(task, {"kind": "finished", "outcome": outcome, "reason": reason} | more, attempt=attempt)
    plane.job(task, JobStatus.SUCCEEDED, attempt)
    plane.tick()
    assert plane.task(task.id).state.is_terminal


def ended(plane: Plane, reason: Reason = Reason.COMPLETED, **envelope: Any) -> TaskView:
    """A task that saved a checkpoint at step 5 of 10 (10 of 10 when it completed) and is over."""
    task = plane.running(**envelope)
    step = 10 if reason is Reason.COMPLETED else 5
    saved(plane, task, step)
    plane.report(task, {"kind": "progress", "step": step, "total_steps": 10})
    plane.report(task, {"kind": "metrics", "step": step, "values": {"loss": 1.0}})
    end(plane, task, reason)
    return plane.task(task.id)
