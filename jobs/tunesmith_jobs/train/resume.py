"""What a run goes on from: its own newest whole checkpoint, or else another task's that the user names.

Torch's files in a checkpoint are read only once its manifest and every hash agree. Knows storage and manifests; knows
nothing of models.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunesmith.artifacts import MANIFEST, Manifest, faults_of
from tunesmith.errors import InvalidInput
from tunesmith.events import Warned
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage
from tunesmith_jobs.train.checkpoints import ArtifactStore
from tunesmith_jobs.train.lora import ADAPTER_CONFIG

_FIELD = "resume_from_checkpoint"


class StartState(NamedTuple):
    """The state before the first step of this run."""

    step: int
    folder: Path
    is_own: bool
    """Whether this task saved it; else how good another task was says nothing of this one."""


def find_state(
    store: ArtifactStore, spec: TrainSpec, scratch: Path, warn: Callable[[Warned], None]
) -> StartState | None:
    """The state that a run goes on from; None where it starts anew.

    Raises:
        InvalidInput: The checkpoint that was named is not whole, or holds the other kind of weights.
    """
    own = store.newest(scratch, warn)
    if own is not None:
        return StartState(*own, is_own=True)
    if not spec.resume_from_checkpoint:
        return None
    step, folder = fetch_checkpoint(spec.resume_from_checkpoint, scratch / "given")
    has_adapter = (folder / ADAPTER_CONFIG).exists()
    if has_adapter != spec.use_lora:
        holds = "a LoRA" if has_adapter else "all weights"
        raise InvalidInput(
            f"`{spec.resume_from_checkpoint}` holds {holds}.",
            hint=f"Use `use_lora={str(has_adapter).lower()}`, or start from its weights with "
            "`attach_lora_path` or `model_name_or_path`.",
            field=_FIELD,
        )
    return StartState(step, folder, is_own=False)


def fetch_checkpoint(uri: str, scratch: Path) -> tuple[int, Path]:
    """A checkpoint of any task, verified, with its step: a copy below `scratch`, for the other task may go.

    Args:
        uri: The checkpoint's folder.
        scratch: Where its copy goes.

    Raises:
        InvalidInput: It is no checkpoint, or not what was saved.
    """
    location, _, name = uri.rstrip("/").rpartition("/")
    found = open_storage(location or "/").get_folder(name, scratch)
    copy = scratch / name
    if found != copy:
        shutil.rmtree(copy, ignore_errors=True)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(found, copy) if found.is_dir() else copy.mkdir()
    faults = faults_of(copy)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidInput(
            f"`{uri}` is not a whole checkpoint: {faults[0]}{more}.",
            hint="`tunesmith tasks checkpoints TASK` lists a task's whole checkpoints.",
            field=_FIELD,
        )
    manifest = Manifest.decode((copy / MANIFEST).read_bytes())
    assert manifest is not None
    if manifest.kind != "checkpoint":
        raise InvalidInput(
            f"`{uri}` is a final model: it has no state of the optimizer to go on from.",
            hint="Name one of the task's checkpoints, or start from its weights with `attach_lora_path` or "
            "`model_name_or_path`.",
            field=_FIELD,
        )
    return manifest.step, copy
