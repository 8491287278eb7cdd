"""States as safetensors and JSON: an optimizer's, a schedule's, a scaler's, and the generators' of random numbers.

A nested value becomes JSON with its tensors beside it: containers by their kind, tensors by their place, numbers that
JSON has no word for by name. Nothing of it can be a program, whoever wrote the file. Knows torch's types and the file
format; knows nothing of steps or of where a checkpoint goes.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunesmith_jobs.models.weights import NAMES

SCHEDULE_FILE = "scheduler.json"
SCALER_FILE = "scaler.json"
STRUCTURE = "structure"
"""The entry of a safetensors file's metadata that holds the JSON."""
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in NAMES}
_RANDOM = "random_state"
_MOST_BYTES = 64 * 2**20


class Unfit(Exception):
    """Something that the file format cannot hold."""


class Unreadable(Exception):
    """A file of a checkpoint does not say what it should."""


def encode(value: Any, tensors: list[torch.Tensor]) -> str:
    """A nested value as JSON.

    Args:
        value: Containers, numbers, words and tensors.
        tensors: Its tensors are appended here, each once.

    Raises:
        Unfit: It holds something else.
    """
    return json.dumps(_encoded(value, tensors, {}), separators=(",", ":"), allow_nan=False)


def decode(text: str | bytes, tensors: Sequence[torch.Tensor] = ()) -> Any:
    """What `encode` was given.

    Raises:
        Unreadable: The text is none of `encode`'s.
    """
    try:
        return _decoded(json.loads(text), tensors)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise Unreadable(f"its structure is broken: {type(error).__name__}") from error


def write_json(file: Path, value: Any) -> None:
    """Write a value without tensors.

    Raises:
        Unfit: It holds what JSON cannot.
    """
    tensors: list[torch.Tensor] = []
    text = encode(value, tensors)
    if tensors:
        raise Unfit("a tensor")
    file.write_text(text)


def read_json(file: Path) -> Any:
    """What `write_json` wrote.

    Raises:
        Unreadable: The file is damaged, or was written by something else.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise Unreadable(f"`{file.name}` is larger than 64 MB")
        return decode(file.read_bytes())
    except OSError as error:
        raise Unreadable(f"`{file.name}` cannot be read: {error.strerror}") from error
    except Unreadable as error:
        raise Unreadable(f"`{file.name}`: {error}") from error


def write_tensors(file: Path, value: Any) -> None:
    """Write a value whose tensors are few; the file has its name only when it is whole.

    Raises:
        Unfit: It holds what the format cannot.
    """
    from safetensors.torch import save_file

    tensors: list[torch.Tensor] = []
    text = encode(value, tensors)
    part = file.with_name(f"{file.name}.part")
    save_file({str(i): one.contiguous() for i, one in enumerate(tensors)}, part, {STRUCTURE: text})
    part.replace(file)


def read_tensors(file: Path) -> Any:
    """What `write_tensors`, or a snapshot of an optimizer's state, wrote.

    Raises:
        Unreadable: The file is damaged, or was written by something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as written:
            text = (written.metadata() or {})[STRUCTURE]
            # Copies: what is read is only shown in the file's own memory.
            tensors = [written.get_tensor(str(i)).clone() for i in range(len(written.keys()))]
        return decode(text, tensors)
    except (OSError, SafetensorError, KeyError, Unreadable) as error:
        raise Unreadable(f"`{file.name}`: {error}") from error


def look_at_tensors(file: Path) -> None:
    """See that such a file is whole, without reading its tensors.

    Raises:
        Unreadable: It is not.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as written:
            text = (written.metadata() or {})[STRUCTURE]
            names = set(written.keys())
        if names != {str(i) for i in range(len(names))}:
            raise Unreadable("its tensors have other names")
        decode(text, [torch.empty(0)] * len(names))
    except (OSError, SafetensorError, KeyError, Unreadable) as error:
        raise Unreadable(f"`{file.name}`: {error}") from error


# --- random numbers


def random_file(rank: int, world: int) -> str:
    """The name of the file with a worker's random states."""
    return f"{_RANDOM}.safetensors" if world <= 1 else f"{_RANDOM}_{rank}.safetensors"


def is_random_file(name: str) -> bool:
    """Whether a file holds a worker's random states, or is becoming one: each worker writes its own when it likes."""
    return name.startswith(_RANDOM)


def random_states() -> dict[str, Any]:
    """The states of every generator of this process."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, [int(key) for key in keys], int(place), int(has_gauss), float(gauss)),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.random.get_rng_state_all()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Make them so again. A GPU that has no state among them keeps its own.

    Raises:
        Unreadable: They are no such states.
    """
    try:
        random.setstate(states["python"])
        kind, keys, *rest = states["numpy"]
        np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))
        torch.random.set_rng_state(states["cpu"])
        for device, state in enumerate(_of_gpus(states.get("cuda"))):
            if torch.cuda.is_available() and device < torch.cuda.device_count():
                torch.cuda.random.set_rng_state(state, device)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Unreadable(f"the random states are none: {error}") from error


def _of_gpus(states: Any) -> list[torch.Tensor]:
    if states is None:
        return []
    if torch.is_tensor(states):  # the library kept that of the current GPU alone
        return [states] if torch.cuda.is_available() and torch.cuda.current_device() == 0 else []
    return list(states)


# --- values


def _encoded(value: Any, tensors: list[torch.Tensor], seen: dict[int, int]) -> Any:
    """A nested value as JSON: containers by their kind, tensors by their place in `tensors`."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {
            "d": [[_encoded(key, tensors, seen), _encoded(one, tensors, seen)] for key, one in value.items()]
        }
    if isinstance(value, list | tuple):
        kind = "t" if isinstance(value, tuple) else "l"
        return {kind: [_encoded(one, tensors, seen) for one in value]}
    if torch.is_tensor(value):
        if id(value) not in seen:
            if value.dtype not in NAMES or value.layout != torch.strided or value.is_quantized:
                raise Unfit(f"a tensor of {value.dtype}, {value.layout}")
            seen[id(value)] = len(tensors)
            tensors.append(value)
        return {"x": seen[id(value)]}
    if isinstance(value, torch.dtype) and value in NAMES:
        return {"y": str(value).removeprefix("torch.")}
    if type(value) is float and not math.isfinite(value):
        return {"f": str(value)}
    if value is None or type(value) in (str, bool, int, float):
        return value
    raise Unfit(f"a {type(value).__name__}")


def _decoded(value: Any, tensors: Sequence[torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a bare list")
        return value
    ((kind, content),) = value.items()
    if kind == "x":
        if type(content) is not int or content < 0:
            raise ValueError("no place of a tensor")
        return tensors[content]
    if kind == "d":
        return {_decoded(key, tensors): _decoded(one, tensors) for key, one in content}
    if kind == "y":
        return _DTYPES[content]
    if kind == "f":
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content]
    if kind not in ("l", "t"):
        raise ValueError("no kind of container")
    items = [_decoded(one, tensors) for one in content]
    return items if kind == "l" else tuple(items)
