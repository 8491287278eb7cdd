"""What is read of a checkpoint that is gone on from, and whether it is one: weights, states, sums, random numbers.

Safetensors and JSON, whoever saved it. What torch wrote before states were kept so is read from this task's own
checkpoints alone, as numbers and tensors, after every hash agreed. Knows the files of a checkpoint; knows nothing of
which one is taken.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.model_folder import ADAPTER_WEIGHTS, read_safetensors_header, weight_files
from tunesmith.model_folder.problems import PICKLES
from tunesmith_jobs.failures import BadCheckpoint
from tunesmith_jobs.models.reading import read_torch
from tunesmith_jobs.train.checkpoint import states
from tunesmith_jobs.train.checkpoint.snapshots import OPTIMIZER_FILE
from tunesmith_jobs.train.run.evaluation_state import EVALUATION_STATE_FILE, EvaluationState
from tunesmith_jobs.train.run.plan import Window

STATE_FILE = "trainer_state.json"
WINDOW_FILE = "tunesmith_window.json"
OLD_SCHEDULE_FILE = "scheduler.pt"
_OLD_OPTIMIZER_FILE = "optimizer.pt"
_OLD_SCALER_FILE = "scaler.pt"
_WRONG = (
    states.Unreadable,
    TunesmithError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
)
"""What loading raises where a file is damaged, or of another model, optimizer or schedule."""


@contextlib.contextmanager
def as_bad_checkpoint(checkpoint: str) -> Iterator[None]:
    """Raise whatever cannot be loaded as a checkpoint that is not one to go on from.

    Raises:
        BadCheckpoint: Something in it does not fit.
    """
    try:
        yield
    except _WRONG as error:
        from tunesmith_jobs.failures import is_out_of_memory

        if is_out_of_memory(error):
            raise
        words = getattr(error, "message", "") or str(error) or type(error).__name__
        raise BadCheckpoint(f"`{Path(checkpoint).name}`: {words}") from error


def is_deepspeeds(scheduler: Any) -> bool:
    """Whether DeepSpeed keeps a schedule itself."""
    return type(scheduler).__name__ == "DeepSpeedSchedulerWrapper"


# --- weights


def load_weights(model: Any, folder: Path) -> None:
    """Put a checkpoint's weights into a model that has the same.

    Raises:
        ValueError: They are of another model.
    """
    from safetensors.torch import load_file

    if hasattr(model, "peft_config"):
        from tunesmith_jobs.models.saved_adapter import set_tensors

        missing, unexpected = set_tensors(model, load_file(folder / ADAPTER_WEIGHTS))
    else:
        found: set[str] = set()
        unexpected = []
        for file in weight_files(folder):
            tensors = load_file(file)
            unexpected += model.load_state_dict(tensors, strict=False).unexpected_keys
            found |= tensors.keys()
        missing = sorted(set(_own(model)) - found)
    if missing or unexpected:
        what = f"`{missing[0]}` is not in it" if missing else f"the model has no `{unexpected[0]}`"
        raise ValueError(f"its weights are another model's: {what}")


def _own(model: Any) -> dict[str, Any]:
    """The tensors of a whole model that a checkpoint holds: of those that share their numbers, one."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _expected(model: Any) -> dict[str, tuple[int, ...]]:
    if hasattr(model, "peft_config"):
        from tunesmith_jobs.models.saved_adapter import saved_tensors

        saved: Mapping[str, Any] = saved_tensors(model)
    else:
        saved = _own(model)
    return {name: tuple(tensor.shape) for name, tensor in saved.items()}


# --- states


def optimizer_state(folder: Path, is_own: bool) -> Any:
    """The optimizer's state."""
    file = folder / OPTIMIZER_FILE
    return states.read_tensors(file) if file.is_file() else _old(folder / _OLD_OPTIMIZER_FILE, is_own)


def schedule_state(folder: Path, is_own: bool) -> Any:
    """The schedule's state."""
    file = folder / states.SCHEDULE_FILE
    return states.read_json(file) if file.is_file() else _old(folder / OLD_SCHEDULE_FILE, is_own)


def scaler_state(folder: Path, is_own: bool) -> Any:
    """The state of the scaler of fp16's losses; None where none was kept."""
    file, old = folder / states.SCALER_FILE, folder / _OLD_SCALER_FILE
    if file.is_file():
        return states.read_json(file)
    return _old(old, is_own) if old.is_file() else None


def random_states(folder: Path, is_own: bool, rank: int, world: int) -> Any:
    """The states of a worker's generators; None where it had none."""
    file = folder / states.random_file(rank, world)
    old = folder / ("rng_state.pth" if world <= 1 else f"rng_state_{rank}.pth")
    if file.is_file():
        return states.read_tensors(file)
    if not old.is_file():
        return None
    found = _old(old, is_own)
    kind, keys, *rest = found["numpy"]
    return {**found, "numpy": (kind, [int(key) for key in keys], *rest)}


def _old(file: Path, is_own: bool) -> Any:
    if not file.is_file():
        raise states.Unreadable(f"`{file.name}` is missing")
    if not is_own:
        raise states.Unreadable(f"`{file.name}` is a pickle, which is read of a task's own checkpoints alone")
    return read_torch(file)


# --- the look before


def pickles_in(folder: Path) -> list[str]:
    """The files of a checkpoint that only torch can read."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix.lower() in PICKLES
    ]


def faults_in(folder: Path, step: int, model: Any) -> list[str]:
    """Why a run cannot go on from a checkpoint whose files are those that were saved; empty where it can.

    Every worker finds the same. Weights are compared by name and shape, and not read.

    Args:
        folder: The checkpoint.
        step: The step in its name.
        model: The model that is trained; None where its weights lie in parts.
    """
    faults: list[str] = []
    for look in (_trainer_state, _sums, _numbers):
        try:
            look(folder, step)
        except _WRONG as error:
            faults.append(_words(error))
    try:
        if model is not None:
            faults += _weights(folder, _expected(model), is_adapter=hasattr(model, "peft_config"))
    except _WRONG as error:
        faults.append(_words(error))
    return faults


def _words(error: Exception) -> str:
    return str(getattr(error, "message", "") or error or type(error).__name__)[:500].rstrip(".")


def _trainer_state(folder: Path, step: int) -> None:
    from transformers import TrainerState

    try:
        found = json.loads((folder / STATE_FILE).read_bytes())
        at = TrainerState(**found).global_step
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"`{STATE_FILE}` cannot be read: {error}") from error
    if at != step:
        raise ValueError(f"`{STATE_FILE}` is of step {at}")


def _sums(folder: Path, _: int) -> None:
    for name, read in (
        (WINDOW_FILE, lambda: Window(**json.loads((folder / WINDOW_FILE).read_bytes()))),
        (EVALUATION_STATE_FILE, lambda: EvaluationState.of(folder)),
    ):
        try:
            read()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"`{name}` cannot be read: {error}") from error


def _numbers(folder: Path, _: int) -> None:
    for name in (states.SCHEDULE_FILE, states.SCALER_FILE):
        if (folder / name).is_file():
            states.read_json(folder / name)
    for file in sorted(folder.glob("random_state*.safetensors")):
        states.read_tensors(file)
    if (folder / OPTIMIZER_FILE).is_file():
        states.look_at_tensors(folder / OPTIMIZER_FILE)


def _weights(folder: Path, expected: Mapping[str, tuple[int, ...]], *, is_adapter: bool) -> list[str]:
    if is_adapter and not (folder / ADAPTER_WEIGHTS).is_file():
        return [f"`{ADAPTER_WEIGHTS}` is missing"]
    files = [folder / ADAPTER_WEIGHTS] if is_adapter else weight_files(folder)
    found = {
        name: tuple(tensor.shape) for file in files for name, tensor in read_safetensors_header(file).items()
    }
    for name, shape in expected.items():
        if name not in found:
            return [f"its weights are another model's: `{name}` is not in it"]
        if found[name] != shape:
            return [
                f"its weights are another model's: `{name}` has the shape {list(found[name])}, not {list(shape)}"
            ]
    return [
        f"its weights are another model's: the model has no `{name}`"
        for name in found.keys() - expected.keys()
    ]
