"""What a run goes on from: its own newest whole checkpoint, or else another task's that the user names.

Every hash of a checkpoint, whose it is, and whether it fits the model is looked at before anything of it is loaded. One
that does not pass is told of, and the one before is taken. Knows storage and manifests; knows nothing of models.
"""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.artifacts import MANIFEST, Manifest, faults_of
from tunesmith.errors import InvalidInput
from tunesmith.events import Warned
from tunesmith.model_folder import ADAPTER_CONFIG
from tunesmith.removal import remove_own
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage
from tunesmith.zero import uses_zero
from tunesmith_jobs.artifact_store import ArtifactStore
from tunesmith_jobs.train.checkpoint.restore import faults_in, pickles_in

_FIELD = "resume_from_checkpoint"


class StartState(NamedTuple):
    """The state before the first step of this run."""

    step: int
    folder: Path
    is_own: bool
    """Whether this task saved it; else how good another task was says nothing of this one."""


def find_state(
    store: ArtifactStore,
    spec: TrainSpec,
    scratch: Path,
    warn: Callable[[Warned], None],
    *,
    model: Any,
    passed: Collection[int] = (),
) -> StartState | None:
    """The state that a run goes on from; None where it starts anew.

    Args:
        store: This task's checkpoints.
        spec: The parameters.
        scratch: Takes copies.
        warn: Told of each checkpoint that is passed over.
        model: The model that is trained.
        passed: Steps whose checkpoints were tried already.

    Raises:
        InvalidInput: The checkpoint that was named is not whole, holds the other kind of weights, or does not fit.
    """
    shown = None if uses_zero(spec) else model  # DeepSpeed holds its weights in parts

    def look(folder: Path, step: int) -> list[str]:
        return faults_in(folder, step, shown)

    own = store.newest(scratch, warn, look, passed)
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
    faults = [f"it holds `{name}`, a pickle" for name in pickles_in(folder)] or look(folder, step)
    if faults:
        raise InvalidInput(
            f"`{spec.resume_from_checkpoint}` cannot be gone on from: {faults[0]}.",
            hint="Only safetensors and JSON are read of another task's checkpoint. Start from its weights, with "
            "`attach_lora_path` or `model_name_or_path`, or let its own task go on.",
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
        remove_own(copy)
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
