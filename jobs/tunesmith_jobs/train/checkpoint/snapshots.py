"""The large files of a checkpoint, taken in memory in one go and written while training goes on.

A snapshot is one flat copy of the trained weights and of the optimizer's state, into memory that is used again for the
next. Both become safetensors files: the weights' bytes are those that the library writes, the optimizer's carry the
names and numbers around its tensors as JSON. What does not change from one checkpoint to the next (configurations,
the tokenizer) is linked.

The library writes the first checkpoint; its files say what the later ones hold, and only where every tensor of them
was found among the model's own is the library left out. Knows torch and the file format; knows nothing of steps or of
where a checkpoint goes.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith.removal import remove_own
from tunesmith_jobs.artifact_store import link_or_copy
from tunesmith_jobs.memory import spare_memory
from tunesmith_jobs.models.saved_adapter import saved_tensors
from tunesmith_jobs.models.weights import NAMES, bytes_of
from tunesmith_jobs.train.checkpoint.states import STRUCTURE, encode, is_random_file
from tunesmith_jobs.train.checkpoint.uploading import BigFile

OPTIMIZER_FILE = "optimizer.safetensors"
_WIDEST = 8
"""Bytes of the widest number."""


class _Planned(NamedTuple):
    """A file before its bytes are copied."""

    path: Path
    header: bytes
    tensors: list[torch.Tensor]


class Snapshots:
    """Takes one snapshot after the other. The step's thread calls everything but what `take` hands out."""

    def __init__(self, keep: Path) -> None:
        """Nothing is taken yet.

        Args:
            keep: A folder for what does not change; it must lie where checkpoints are written.
        """
        self._keep = keep
        self._template: dict[str, tuple[bytes, list[str]]] | None = None
        self._live: dict[str, Callable[[], torch.Tensor]] = {}
        self._planned: list[_Planned] = []
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._views: list[torch.Tensor] = []
        self._shapes: list[list[tuple[Any, ...]]] = []
        self._free = threading.Event()
        self._free.set()

    # --- the weights

    def learn(self, folder: Path, model: Any) -> None:
        """Look at what the library has written, for the next time. Nothing is learned where it changed a tensor."""
        from safetensors import safe_open

        live = _live_tensors(model)
        template: dict[str, tuple[bytes, list[str]]] = {}
        # What other workers write meanwhile is theirs, and new each time.
        written_here = [file for file in sorted(folder.rglob("*")) if not is_random_file(file.name)]
        for file in written_here:
            if file.suffix != ".safetensors":
                continue
            header, names = _read_header(file)
            with safe_open(file, "pt") as written:
                for name in names:
                    find = live.get(name)
                    if find is None or not _is_same(find(), written.get_tensor(name)):
                        return
            template[file.relative_to(folder).as_posix()] = (header, names)
        remove_own(self._keep)
        for file in written_here:
            if file.is_file() and file.relative_to(folder).as_posix() not in template:
                link_or_copy(file, self._keep / file.relative_to(folder))
        self._live, self._template = live, template or None

    def plan_weights(self, folder: Path) -> bool:
        """Lay out what the library would write; False where that was not learned."""
        if self._template is None:
            return False
        for file in self._keep.rglob("*"):
            if file.is_file():
                link_or_copy(file, folder / file.relative_to(self._keep))
        for path, (header, names) in self._template.items():
            self._planned.append(_Planned(folder / path, header, [self._live[name]() for name in names]))
        return True

    # --- the optimizer

    def plan_state(self, file: Path, state: Mapping[str, Any]) -> None:
        """Lay out an optimizer's state.

        Raises:
            Unfit: It holds what the format cannot.
        """
        found: list[torch.Tensor] = []
        text = encode(state, found)
        # The widest numbers first: each tensor then begins at a multiple of its own width.
        named = sorted(enumerate(found), key=lambda item: -item[1].itemsize)
        self._planned.append(_Planned(file, _header(named, {STRUCTURE: text}), [one for _, one in named]))

    # --- both

    def take(self) -> list[BigFile]:
        """Copy what was laid out. The files must be written and the snapshot released before the next one.

        Where memory does not allow a copy, the files are written here and now.
        """
        planned, self._planned = self._planned, []
        self._free.wait()
        tensors = [tensor.detach() for plan in planned for tensor in plan.tensors]
        size = _places(planned)[-1][1] if planned else 0
        if not tensors or (len(self._buffer) < size and size > spare_memory() // 2):
            for plan in planned:
                BigFile(plan.path, [plan.header, *map(bytes_of, plan.tensors)]).write()
            return []
        self._fit(planned, size)
        torch._foreach_copy_(self._views, tensors, non_blocking=True)  # type: ignore[no-untyped-call]
        if self._buffer.is_pinned():
            torch.cuda.synchronize()
        self._free.clear()
        whole = memoryview(self._buffer.numpy())
        return [
            BigFile(plan.path, [plan.header, whole[begin:end]])
            for plan, (begin, end) in zip(planned, _places(planned), strict=True)
        ]

    def release(self) -> None:
        """The files of the snapshot are written, or will never be. Any thread may say so."""
        self._free.set()

    def _fit(self, planned: list[_Planned], size: int) -> None:
        """Make the buffer large enough, and a view in it for each tensor."""
        shapes = [[(tensor.dtype, *tensor.shape) for tensor in plan.tensors] for plan in planned]
        if shapes == self._shapes:
            return
        if len(self._buffer) < size:
            is_cuda = any(tensor.is_cuda for plan in planned for tensor in plan.tensors)
            self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=is_cuda)
        self._views, self._shapes = [], shapes
        for plan, (begin, end) in zip(planned, _places(planned), strict=True):
            parts = self._buffer[begin:end].split([tensor.nbytes for tensor in plan.tensors])
            self._views += [
                part.view(tensor.dtype).view(tensor.shape)
                for part, tensor in zip(parts, plan.tensors, strict=True)
            ]


def _places(planned: Sequence[_Planned]) -> list[tuple[int, int]]:
    """Where each file's tensors begin and end in the buffer."""
    places: list[tuple[int, int]] = []
    end = 0
    for plan in planned:
        begin = -(-end // _WIDEST) * _WIDEST
        end = begin + sum(tensor.nbytes for tensor in plan.tensors)
        places.append((begin, end))
    return places


def _live_tensors(model: Any) -> dict[str, Callable[[], torch.Tensor]]:
    """What the library saves, by the names it gives, each as a way to the weight as it is then."""
    if hasattr(model, "peft_config"):
        saved: Mapping[str, Any] = saved_tensors(model)
    else:
        saved = model.state_dict()
    owners = {
        (owner.data_ptr(), owner.dtype, owner.shape): owner
        for owner in [*model.buffers(), *model.parameters()]
        if type(owner) in (torch.Tensor, torch.nn.Parameter)
    }
    found: dict[str, Callable[[], torch.Tensor]] = {}
    for name, tensor in saved.items():
        if torch.is_tensor(tensor):
            owner = owners.get((tensor.data_ptr(), tensor.dtype, tensor.shape))
            if owner is not None and owner.is_contiguous():
                found[name] = owner.detach
    return found


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool(torch.equal(one.cpu(), other))


def _read_header(file: Path) -> tuple[bytes, list[str]]:
    """A file's header with its length, and its tensors' names in the order of their bytes."""
    with file.open("rb") as stream:
        length = stream.read(8)
        text = stream.read(int.from_bytes(length, "little"))
    entries = json.loads(text)
    entries.pop("__metadata__", None)
    return length + text, sorted(entries, key=lambda name: entries[name]["data_offsets"])


def _header(named: Sequence[tuple[int, torch.Tensor]], metadata: dict[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": metadata}
    begin = 0
    for number, tensor in named:
        end = begin + tensor.nbytes
        entries[str(number)] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
