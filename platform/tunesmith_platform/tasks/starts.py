"""What a task starts from besides its model: another task's checkpoint, an adapter, a file of LoRA settings.

Looked at at submit, so that a task does not wait for its turn and a model to be loaded before it says that a path is
wrong. Whether every byte is what was saved, and whether it fits the model, the job tells. Knows files and storages.
"""

import json
from pathlib import Path
from typing import Any

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import InvalidInput, Unavailable
from tunesmith.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import STATE_OF_FILE, StateOf, refuse, shape_differences, wanted_shape
from tunesmith.storage import Storage, local_path, open_storage
from tunesmith_platform.sandbox import checks

_MANIFEST_BYTES = 2**20
"""It is read and parsed here, whoever wrote it: of some ten thousand files, far more than a checkpoint has."""
_TRAINER_STATE = "trainer_state.json"
_CHECKPOINT_HINT = "`tunesmith tasks checkpoints TASK` lists a task's whole checkpoints."
_ADAPTER_HINT = "Give the folder of a LoRA adapter in safetensors: a checkpoint or a final model."


def check_checkpoint(given: str, spec: TrainSpec) -> None:
    """Look at the checkpoint that a task is to go on from.

    Raises:
        InvalidInput: There is none, it is not whole, or it holds the other kind of weights.
        Unavailable: The storage that it lies in does not answer.
    """
    storage = open_storage(given)
    data = _read(storage, MANIFEST, _MANIFEST_BYTES)
    if data is None:
        folder = local_path(given)
        if folder is not None and not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise InvalidInput(f"`{given}` {what}.", hint=_CHECKPOINT_HINT)
        if _read(storage, _TRAINER_STATE, _MANIFEST_BYTES * 64) is not None:
            raise InvalidInput(
                f"`{given}` is a checkpoint that Hugging Face's Trainer wrote: parts of it are pickles.",
                hint=f"`tunesmith checkpoints import {given}` takes it up; go on from what that writes.",
            )
        raise InvalidInput(
            f"`{given}` is not a whole checkpoint: it has no `{MANIFEST}`.", hint=_CHECKPOINT_HINT
        )
    manifest = Manifest.decode(data)
    if manifest is None:
        raise InvalidInput(
            f"`{given}` is not a whole checkpoint: its `{MANIFEST}` is not readable.", hint=_CHECKPOINT_HINT
        )
    if manifest.kind != "checkpoint":
        raise InvalidInput(
            f"`{given}` is a final model: it has no state of the optimizer to go on from.",
            hint="Name one of the task's checkpoints, or start from its weights with `attach_lora_path` or "
            "`model_name_or_path`.",
        )
    for file in manifest.files:
        here = storage.local(file.path)
        if here is not None and (
            here.is_symlink() or not here.is_file() or here.stat().st_size != file.bytes
        ):
            raise InvalidInput(
                f"`{given}` is not a whole checkpoint: `{file.path}` is missing, or not what was saved.",
                hint=_CHECKPOINT_HINT,
            )
    has_adapter = any(file.path == ADAPTER_CONFIG for file in manifest.files)
    if has_adapter != bool(spec.use_lora):
        holds = "a LoRA" if has_adapter else "all weights"
        raise InvalidInput(
            f"`{given}` holds {holds}.",
            hint=f"Use `use_lora={str(has_adapter).lower()}`, or start from its weights with "
            "`attach_lora_path` or `model_name_or_path`.",
        )


def check_same_parameters(given: str, spec: TrainSpec, rows: int | None = None) -> None:
    """See that a checkpoint was saved under the parameters under which it is gone on from, as far as it says.

    Args:
        given: Where it lies.
        spec: The task's parameters.
        rows: Tokens that the model has rows for, where that is known.

    Raises:
        InvalidInput: It was not; names each parameter.
        Unavailable: The storage that it lies in does not answer.
    """
    storage = open_storage(given)
    saved = StateOf.decode(_read(storage, STATE_OF_FILE, _MANIFEST_BYTES))
    problems = list(StateOf.of(spec, rows=rows).differences(saved)) if saved else []
    wanted = wanted_shape(spec)
    shape = _read(storage, ADAPTER_CONFIG, _MANIFEST_BYTES) if wanted else None
    if wanted and shape is not None:
        problems += shape_differences(wanted, _object(shape))
    refuse(given, problems)


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object; an empty one where it is something else, which the job finds."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def check_adapter(given: str) -> None:
    """Look at the adapter that a task trains further.

    Raises:
        InvalidInput: It is no folder of an adapter in safetensors.
        Unavailable: The storage that it lies in does not answer.
    """
    folder = local_path(given)
    if folder is not None:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise InvalidInput(f"`{given}` {what}.", hint=_ADAPTER_HINT)
        checks.check_adapter(folder, "")
        return
    try:
        there = open_storage(given).list()
    except OSError as error:
        raise _away(given, error) from error
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if name not in there:
            raise InvalidInput(f"`{given}` is no adapter: it has no `{name}`.", hint=_ADAPTER_HINT)


def started_from(spec: TrainSpec) -> dict[str, Path | None]:
    """What a training starts from besides its model, as far as it lies on this machine, by its name in a sentence."""
    given = {
        "the checkpoint that it goes on from": spec.resume_from_checkpoint,
        "its adapter": spec.attach_lora_path,
        "its file of LoRA settings": spec.peft_config_path,
    }
    return {name: local_path(path) if path else None for name, path in given.items()}


def _read(storage: Storage, name: str, limit: int) -> bytes | None:
    """A small file of a folder; None where there is none that is an ordinary one."""
    here = storage.local(name)
    try:
        if here is not None and (not here.is_file() or here.stat().st_size > limit):
            return None
        return storage.read(name)
    except OSError as error:
        raise _away(storage.uri, error) from error


def _away(place: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"`{place}` cannot be read now: {str(error)[:300]}",
        hint="Check that the path can be read and that the storage answers, then try again.",
    )
