"""A control plane with a training whose checkpoints are there, and packages of it. No test itself."""

from pathlib import Path
from typing import Any

from conftest_platform import Plane
from ended_tasks import end, folder
from fastapi.testclient import TestClient

from tunesmith.artifacts import PACKAGE, Manifest, list_files, sha256_of
from tunesmith.model_step import ModelDocument
from tunesmith.storage import open_storage
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.tasks.inputs import TrainInputs

FILE = "t-8-Q4_K_M.gguf"
CONTENT = b"GGUF" * 1000
"""Of the package's one file."""


class Bench:
    """A plane with a training whose checkpoints are there, and packages of it."""

    def __init__(self, plane: Plane, client: TestClient, model: Path) -> None:
        self.plane, self.client, self.model = plane, client, model
        plane.settings.allowed_roots.append(model)
        plane.training.look_at = lambda _scope, spec: TrainInputs(model_path=str(model), train_path="/t")

    def trained(self, losses: dict[int, float | None], *, completed: bool = True, **spec: Any) -> TaskView:
        """A training with checkpoints, some of which have an evaluation loss."""
        given = {"model_name_or_path": "m", "train_file": "/t"} | spec
        task = self.plane.task(self.client.post("/v1/tasks", json={"name": "t", "spec": given}).json()["id"])
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING)
        for step, loss in losses.items():
            place = folder(self.plane, task, f"checkpoints/checkpoint-{step}")
            event = {"kind": "checkpoint", "step": step, "uri": str(place), "bytes": 1, "files": 1}
            metrics = {} if loss is None else {"eval_loss": loss}
            self.plane.report(task, event | {"manifest_sha256": "0" * 64, "metrics": metrics})
        if completed:
            end(self.plane, task, model_uri=str(folder(self.plane, task, "model")))
        return self.plane.task(task.id)

    def package(self, *, project: str = "default", **spec: Any) -> Any:
        return self.client.post("/v1/tasks", json={"kind": "package", "project": project, "spec": spec})

    def made(self, **spec: Any) -> TaskView:
        answer = self.package(**spec)
        assert answer.status_code == 201, answer.text
        return self.plane.task(answer.json()["id"])

    def document(self, task: TaskView) -> ModelDocument:
        self.plane.tick()
        (uri,) = [uri for job, uri in self.plane.jobs.documents.items() if job.startswith(task.id)]
        folder, _, name = uri.rpartition("/")
        return ModelDocument.model_validate_json(open_storage(folder).read(name) or b"")

    def packaged(
        self, training: TaskView | None = None, uri: str | None = None, content: bytes = CONTENT, **spec: Any
    ) -> TaskView:
        """A completed package, its files written by hand; in a storage elsewhere where its folder is given.

        Of the model that `spec` names where no training is given.
        """
        of = {"task_id": training.id} if training is not None else {}
        task = self.made(**{"preset": "merge_and_quantize"} | of | spec)
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING)
        place = Path(str(task.artifact_uri)) / PACKAGE
        (place / "failed").mkdir(parents=True)
        (place / "t-8-Q4_K_M.gguf").write_bytes(content)
        (place / "t-8-Q4_K_M.gguf.proof.json").write_text("{}")
        (place / "failed" / "t-8.gguf.failed").write_bytes(b"GGUF")
        manifest = Manifest(task_id=task.id, attempt=1, step=8, kind="package", files=list_files(place))
        (place / "manifest.json").write_bytes(manifest.encode())
        sha256 = sha256_of(place / "t-8-Q4_K_M.gguf")
        file = {
            "name": "t-8-Q4_K_M.gguf", "type": "Q4_K_M", "bytes": len(content), "sha256": sha256, "verdict": "proven",
            "key": "k" * 64, "sentence": {"en": "It is the model."},
            "kl_mean": 0.07, "top1": 0.9, "fallbacks": {"Q4_K -> Q5_0": 3},
        }  # fmt: skip
        failed = file | {"name": "t-8.gguf", "type": "F16", "verdict": "failed", "kl_mean": None}
        if uri is not None:
            open_storage(uri).put_folder(place, "package")
        self.plane.report(
            task,
            {
                "kind": "package_made",
                "uri": f"{uri}/package" if uri else str(place),
                "step": 8,
                "files": [file, failed],
            },
        )
        end(self.plane, task, model_uri=str(place))
        return self.plane.task(task.id)
