"""Weights of a base that its candidate has others of: they wait where they take least, and come back bit by bit.

Most lie in the base's own files as they were loaded: those are read again, and take no memory meanwhile. What is not
found there waits in a smaller format where that loses nothing, else as it is. Knows tensors and safetensors; knows
nothing of candidates. Whether what came back is the base is for its owner to see: files change.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith.errors import InvalidModel
from tunesmith.model_folder import weight_files
from tunesmith_jobs.evaluate.engine.mapped import Mapped

_SMALLER = (torch.bfloat16, torch.float16)
"""Formats in which most models are published: what was widened from one is held in it without loss."""
_TRIMMED = 2**26
"""Bytes that are freed before they are given back to the system."""


class _Sleeper(NamedTuple):
    weight: torch.nn.Parameter
    kind: torch.dtype
    name: str | None
    """Of the tensor in the files; None for one that waits in memory."""
    is_turned: bool
    """Whether it lies column after column."""


class Asleep:
    """The weights of one base that are not used now.

    Args:
        model: The base, as it is in its files.
        folder: Where these are; None where they are not to be read again.
    """

    def __init__(self, model: torch.nn.Module, folder: Path | None) -> None:
        self._names = {id(weight): name for name, weight in model.named_parameters()}
        self._files = _files_of(folder) if folder is not None else {}
        self._seen: set[str] = set()
        """Tensors that were seen to be in the files what they are in memory."""
        self._sleepers: dict[int, _Sleeper] = {}
        self._freed = 0

    def put(self, weight: torch.nn.Parameter) -> None:
        """Let a weight of the base's take less memory; nothing where it does already."""
        if id(weight) in self._sleepers:
            return
        kind, taken = weight.dtype, weight.nbytes
        is_turned = weight.dim() == 2 and not weight.is_contiguous()
        name = self._names.get(id(weight))
        if name is not None and self._lies_in_file(name, weight):
            self._sleepers[id(weight)] = _Sleeper(weight, kind, name, is_turned)
            weight.data = weight.data.new_empty(0)
        elif (held := _smaller(weight.data)) is not None:
            self._sleepers[id(weight)] = _Sleeper(weight, kind, None, is_turned)
            weight.data = held
        else:
            return
        self._freed += taken
        if self._freed >= _TRIMMED:
            self._freed = 0
            give_back()

    def wake(self) -> bool:
        """Bring every weight back; False where a file does not give what it held any more: the base is lost."""
        sleepers, self._sleepers = list(self._sleepers.values()), {}
        mapped = Mapped()
        try:
            with _opened() as files:
                for weight, kind, name, is_turned in sleepers:
                    found = weight.data if name is None else files(self._files[name]).get_tensor(name)
                    weight.data = _copied(found, kind, is_turned=is_turned)
                    mapped.let_go(found)
        except Exception:  # whatever a library raises over a file that is another one now
            return False
        return True

    def _lies_in_file(self, name: str, weight: torch.nn.Parameter) -> bool:
        file = self._files.get(name)
        if file is None:
            return False
        if name in self._seen:
            return True
        with contextlib.suppress(Exception), _opened() as files:
            found = files(file).get_tensor(name)
            if found.shape == weight.shape and torch.equal(found.to(weight.dtype), weight.data):
                self._seen.add(name)
                return True
        del self._files[name]
        return False


def _copied(found: torch.Tensor, kind: torch.dtype, *, is_turned: bool) -> torch.Tensor:
    """A copy: nothing of it is a file's that may change. Nothing else is taken beside it, which would leave holes."""
    shape = found.shape[::-1] if is_turned else found.shape
    taken = torch.empty(shape, dtype=kind, device=found.device)
    return (taken.t() if is_turned else taken).copy_(found)


def _smaller(data: torch.Tensor) -> torch.Tensor | None:
    """The same numbers in fewer bytes; None where they are not the same then."""
    for kind in _SMALLER:
        if kind.itemsize < data.dtype.itemsize:
            held = data.to(kind)
            if torch.equal(held.to(data.dtype), data):
                return held
    return None


def _files_of(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    with contextlib.suppress(InvalidModel, OSError):
        for file in weight_files(folder):
            with safe_open(file, "pt") as written:
                found |= dict.fromkeys(written.keys(), file)
    return found


@contextlib.contextmanager
def _opened() -> Iterator[Any]:
    """Opens files, each once; all are closed at the end."""
    from safetensors import safe_open

    with contextlib.ExitStack() as stack:
        opened: dict[Path, Any] = {}

        def open_file(file: Path) -> Any:
            if file not in opened:
                opened[file] = stack.enter_context(safe_open(file, "pt"))
            return opened[file]

        yield open_file


def give_back() -> None:
    """Give freed memory back: glibc keeps it apart by the thread that took it, and others do not use it again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
