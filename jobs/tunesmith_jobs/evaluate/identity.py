"""What tells a candidate by all that decides its answers: its weights, its base, and how its prompts are written.

Of what a task saved the manifest knows every hash. Of other folders small files are read, and large ones are told
by their size and when they were written: to hash a model of many gigabytes takes longer than to ask it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tunesmith.artifacts import MANIFEST, Manifest, checkpoint_step
from tunesmith.errors import InvalidModel
from tunesmith.evaluation.document import CandidateDocument
from tunesmith.model_folder import TOKENIZER_FILES
from tunesmith.rows.chat.template import template_of
from tunesmith.spec.parameter import names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.models.fetch import saved_faults

_SMALL = 2**20
_DECIDING = (".safetensors", "config.json", "adapter_config.json")
_NUMERICS = names_with(TrainSpec, Role.NUMERICS, Role.QUANTIZES)


def template_sha256(document: CandidateDocument) -> str:
    """The SHA-256 of the chat template that writes a candidate's prompts, and of its tokenizer's files.

    A classifier's texts are written by no template.

    Raises:
        InvalidModel: It has no template.
    """
    training = TrainSpec.stored(document.training)
    written = "texts"
    if training.training_type != "classification":
        written = template_of(
            document.encoder_path, tokenizer=document.tokenizer_path, chat_template=training.chat_template
        ).sha256
    digest = hashlib.sha256(written.encode())
    folder = Path(document.tokenizer_path or document.encoder_path)
    for name in sorted(TOKENIZER_FILES):
        file = folder / name
        if file.is_file():
            digest.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def refuse_what_is_not_as_saved(document: CandidateDocument) -> None:
    """See that a candidate's folder holds what was saved there, where a manifest says what that was.

    Raises:
        InvalidModel: It does not.
    """
    folder = local_path(document.candidate.uri)
    if folder is not None and (faults := saved_faults(folder)):
        raise InvalidModel(
            f"`{document.candidate.label}` is not what was saved: {faults[0]}.",
            hint="Leave it out, or take another checkpoint.",
            field="checkpoints",
        )


def is_removed(document: CandidateDocument) -> bool:
    """Whether a candidate is a checkpoint that its training has removed since it was named.

    A checkpoint's manifest goes before its files: what has none is whole no more.
    """
    folder = local_path(document.candidate.uri)
    name = document.candidate.uri.rstrip("/").rpartition("/")[2]
    if document.candidate.task_id is None or checkpoint_step(name) is None:
        return False
    if folder is not None:
        return not (folder / MANIFEST).is_file()
    location = document.candidate.uri.rstrip("/").rpartition("/")[0]
    try:
        return open_storage(location).read(f"{name}/{MANIFEST}") is None
    except OSError:
        return False  # the storage does not answer: that says nothing of what lies there


def weights_sha256(document: CandidateDocument) -> str:
    """What tells a candidate's weights and the numbers that it computes from them.

    Raises:
        InvalidModel: Its folder is not what was saved there, or is gone.
    """
    told: dict[str, Any] = {"weights": _folder(document.candidate.uri)}
    if document.base_path and document.base_path != document.candidate.uri:
        told["base"] = _folder(document.base_path)
    told["numerics"] = {name: document.training.get(name) for name in sorted(_NUMERICS)}
    told["device"] = document.training.get("device")
    if document.classes:
        told["classes"] = document.classes
        told["max_length"] = document.training.get("max_length")
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _folder(uri: str) -> list[list[str]]:
    folder = local_path(uri)
    if folder is None:
        location, _, name = uri.rstrip("/").rpartition("/")
        data = open_storage(location).read(f"{name}/{MANIFEST}")
    else:
        if not folder.is_dir():
            raise InvalidModel(f"`{uri}` is gone.", hint="Take another checkpoint.")
        file = folder / MANIFEST
        data = file.read_bytes() if file.is_file() else None
    manifest = Manifest.decode(data) if data is not None else None
    if manifest is not None:
        return [[one.path, one.sha256] for one in manifest.files if one.path.endswith(_DECIDING)]
    if folder is None:
        raise InvalidModel(
            f"`{uri}` has no manifest: it was never finished.", hint="Take another checkpoint."
        )
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name.endswith(_DECIDING):
            state = file.stat()
            told = (
                hashlib.sha256(file.read_bytes()).hexdigest()
                if state.st_size <= _SMALL
                else f"{state.st_size}:{state.st_mtime_ns}"
            )
            found.append([str(file.relative_to(folder)), told])
    return found
