"""An attempt of each installed kind, as its processes are handed it. No test itself."""

from collections.abc import Callable
from pathlib import Path

from fake_plane import make_document

from tunesmith.chat.document import ChatDocument, ProveDocument
from tunesmith.data_step import DataDocument
from tunesmith.job import AttemptDocument, JobDocument
from tunesmith.model_step import ModelDocument
from tunesmith.pull_job import PullDocument
from tunesmith.upload_job import UploadDocument

NOBODY = "http://127.0.0.1:9"


def model_document(folder: Path, kind: str, url: str = NOBODY) -> ModelDocument:
    spec = {"prompts": ["q"]} if kind == "generate" else {}
    more = {
        "model_uri": "/m",
        "training": {"model_name_or_path": "/m", "train_file": "/t"},
        "encoder_path": "/m",
        "origin": {"base": "m"},
    }
    return ModelDocument.model_validate(
        make_document(folder, url).model_dump()
        | more
        | {"kind": kind, "spec": {"model_name_or_path": "/m"} | spec}
    )


def data_document(folder: Path, url: str = NOBODY) -> DataDocument:
    more = {"operation": "shuffle", "parameters": {"dataset": "/t"}, "rows_dir": str(folder / "rows")}
    return DataDocument.model_validate(make_document(folder, url).model_dump() | more | {"kind": "dataset"})


def chat_document(folder: Path, url: str = NOBODY) -> ChatDocument:
    more = {"serve_port": 9, "cache_dir": str(folder / "cache")}
    return ChatDocument.model_validate(model_document(folder, "chat", url).model_dump() | more)


def prove_document(folder: Path, url: str = NOBODY) -> ProveDocument:
    more = {"cache_dir": str(folder / "cache")}
    return ProveDocument.model_validate(model_document(folder, "prove", url).model_dump() | more)


def upload_document(folder: Path, url: str = NOBODY) -> UploadDocument:
    more = {"kind": "upload", "spec": {"task_id": "t", "repo_id": "me/model"}, "model_uri": "/m"}
    return UploadDocument.model_validate(make_document(folder, url).model_dump() | more)


def pull_document(folder: Path, url: str = NOBODY) -> PullDocument:
    more = {"kind": "pull", "spec": {"repo_id": "me/model"}, "models_dir": str(folder / "models")}
    return PullDocument.model_validate(make_document(folder, url).model_dump() | more)


def training_document(folder: Path, url: str = NOBODY) -> JobDocument:
    return make_document(folder, url, spec={"model_name_or_path": "/m", "train_file": "/t"})


DOCUMENTS: dict[str, Callable[[Path, str], AttemptDocument]] = {
    "train": training_document,
    "dataset": data_document,
    "evaluate": lambda folder, url: model_document(folder, "evaluate", url),
    "generate": lambda folder, url: model_document(folder, "generate", url),
    "package": lambda folder, url: model_document(folder, "package", url),
    "chat": chat_document,
    "prove": prove_document,
    "upload": upload_document,
    "pull": pull_document,
}
"""Where it works, and whom it reports to."""
