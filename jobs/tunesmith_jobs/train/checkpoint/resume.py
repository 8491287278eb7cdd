"""What a run goes on from: its own newest whole checkpoint, or else another task's that the user names.

Every hash of a checkpoint, whose it is, and whether it fits the model is looked at before anything of it is loaded. One
that does not pass is told of, and the one before is taken. Knows storage and manifests; knows nothing of models.
"""

import json
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
from tunesmith.state_of import STATE_OF_FILE, StateOf, refuse, shape_differences, target_difference
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
    state_of: StateOf,
    passed: Collection[int] = (),
) -> StartState | None:
    """The state that a run goes on from; None where it starts anew.

    Args:
        store: This task's checkpoints.
        spec: The parameters.
        scratch: Takes copies.
        warn: Told of each checkpoint that is passed over.
        model: The model that is trained.
        state_of: What this run is.
        passed: Steps whose checkpoints were tried already.

    Raises:
        InvalidInput: The checkpoint that was named is not whole, holds the other kind of weights, or does not fit;
            or the base of this task's own adapter is another one now.
    """
    shown = None if uses_zero(spec) else model  # DeepSpeed holds its weights in parts

    def look(folder: Path, step: int) -> list[str]:
        return faults_in(folder, step, shown)

    own = store.newest(scratch, warn, look, passed)
    if own is not None:
        problems = list(state_of.differences(_saved_state_of(own[1])))
        refuse(f"{own[1].name}", [problem for problem in problems if problem.field == "model_name_or_path"])
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
    field = _shape_from(spec)
    wanted, saved = _shapes(model, folder) if has_adapter else ({}, {})
    problems = [*state_of.differences(_saved_state_of(folder)), *shape_differences(wanted, saved, field)]
    refuse(spec.resume_from_checkpoint, problems)
    faults = [f"it holds `{name}`, a pickle" for name in pickles_in(folder)] or look(folder, step)
    if faults and (other := target_difference(wanted, saved, field)):
        refuse(spec.resume_from_checkpoint, [other])
    if faults:
        raise InvalidInput(
            f"`{spec.resume_from_checkpoint}` cannot be gone on from: {faults[0]}.",
            hint="Only safetensors and JSON are read of another task's checkpoint. Start from its weights, with "
            "`attach_lora_path` or `model_name_or_path`, or let its own task go on.",
            field=_FIELD,
        )
    return StartState(step, folder, is_own=False)


def _saved_state_of(folder: Path) -> StateOf:
    """What the state in a checkpoint is of, as far as it says so: one of an older version does not."""
    file = folder / STATE_OF_FILE
    return (StateOf.decode(file.read_bytes()) if file.is_file() else None) or StateOf()


def _shape_from(spec: TrainSpec) -> str | None:
    """The parameter that gave the adapter's shape, where that was no parameter of its own."""
    if spec.attach_lora and spec.attach_lora_path:
        return "attach_lora_path"
    return "peft_config_path" if spec.peft_config_path else None


def _shapes(model: Any, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The adapter that is trained and the one in a checkpoint, as peft writes them down."""
    from tunesmith_jobs.models.saved_adapter import saved_config

    config = saved_config(model).to_dict()
    for name, value in config.items():
        if isinstance(value, set):
            config[name] = sorted(value)
    try:
        saved = json.loads((folder / ADAPTER_CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        saved = None
    # An enumeration is equal to its own text; what else is no JSON compares by it.
    wanted = json.loads(json.dumps(config, default=str))
    return wanted, saved if isinstance(saved, dict) else wanted


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
