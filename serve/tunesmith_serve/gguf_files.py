"""Models and adapters as GGUF files on this node: made once, kept by what they hold, the oldest of them removed.

A file's name is a hash of the weights' print, the type, and the writer's version: the same weights are one file,
whatever they are called, and no file is taken for other weights. It is written under another name and then given its
own, so a file that is there is whole; two processes that make the same one at once each make a whole one. Everything
blocks: called from a thread. Knows folders and `tunesmith.gguf`; knows no engine.
"""

import contextlib
import hashlib
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tunesmith.artifacts import sha256_of
from tunesmith.chat.wire import PackagedGguf, ServedModel
from tunesmith.errors import InvalidModel, NotOurs
from tunesmith.gguf import FileType, Progress, plan_gguf, plan_lora_gguf, write_gguf, write_lora_gguf
from tunesmith.gguf.split import part_name, parts_beside
from tunesmith.model_folder.weights_print import weights_print
from tunesmith.packaged import FilePart
from tunesmith.removal import claim, discard_file
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.models.fetch import fetch_model
from tunesmith_serve.once import alone

OWNER = "tunesmith-gguf-files"
"""Whose folder it is, in its mark."""
WRITER = 2
"""Rises when `tunesmith.gguf` writes other files from the same weights: those that are there are made anew."""
MOST_BYTES = 50 * 2**30
"""Of all files together, as far as they are not in use here."""
_FILE = re.compile(r"[0-9a-f]{64}(-\d{5}-of-\d{5})?\.gguf")
_PART = re.compile(rf"\.{_FILE.pattern}\.[0-9a-f]{{12}}\.part")
"""What a file is called while it is written: of a process that died, it is left."""
_PART_SECONDS = 24 * 3600

Said = Callable[[str], None]
"""Takes words on how far it is."""


class GgufFiles:
    """The files of a node.

    Args:
        folder: Where they are; several processes may share it.
        scratch: Takes copies of what lies in a storage elsewhere, while they are read.
        most_bytes: See `MOST_BYTES`.
    """

    def __init__(self, folder: Path, scratch: Path, most_bytes: int = MOST_BYTES) -> None:
        self._cache, self._scratch, self._most_bytes = folder, scratch, most_bytes
        self._folder = folder / "gguf"
        self._used: set[Path] = set()
        self._lock = threading.Lock()

    def model(self, folder: Path, said: Said = lambda words: None) -> Path:
        """The F16 file of a whole model.

        Raises:
            InvalidModel: What lies there is none.
            NotConvertible: A GGUF file cannot hold it.
            NotOurs: Somebody else's files are in the folder.
            OSError: The disk does not take it.
        """

        def write(target: Path) -> None:
            plan_gguf(folder, FileType.F16)  # what cannot be written is refused before others' files go
            self._make_room(target)
            write_gguf(folder, target, FileType.F16, _percent("Writing the model's file for llama.cpp", said))

        config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        return self._made(f"model {FileType.F16} {weights_print(folder)} {config}", write)

    def adapter(self, model: ServedModel, said: Said = lambda words: None) -> Path:
        """The F32 file of an adapter.

        Raises:
            InvalidModel: What lies there is none.
            InvalidInput: It is no LoRA.
            NotConvertible: A GGUF file cannot hold it.
            NotOurs: Somebody else's files are in the folder.
            OSError: The disk does not take it.
        """

        def write(target: Path) -> None:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
                folder = fetch_model(model.model_uri, Path(scratch))
                plan_lora_gguf(folder, model.base_path, FileType.F32)
                self._make_room(target)
                words = f"Writing the adapter `{model.name}` for llama.cpp"
                write_lora_gguf(folder, model.base_path, target, FileType.F32, _percent(words, said))

        return self._made(f"adapter {FileType.F32} {model.weights}", write)

    def packaged(self, given: PackagedGguf, said: Said = lambda words: None) -> Path:
        """A package's file where it lies on this machine; else a copy of it. Held against its sum, once.

        Returns:
            The file; of several, the first: the others are beside it, by the names that llama.cpp looks for.

        Raises:
            InvalidModel: What lies there is not what was packaged, or nothing does.
            NotOurs: Somebody else's files are in the folder.
            OSError: The disk does not take it.
        """
        folder, _, name = given.uri.rpartition("/")
        parts = [FilePart(name=name, bytes=given.bytes, sha256=given.sha256)]
        if given.parts:
            beside = parts_beside(Path(name))
            parts = [
                part.model_copy(update={"name": one.name})
                for one, part in zip(beside, given.parts, strict=True)
            ]
        place = local_path(given.uri)
        if place is not None:
            for part in parts:
                self._check(place.with_name(part.name), part, said)
            return place

        def write(target: Path, part: FilePart) -> None:
            said("Fetching the packaged file.")
            self._make_room(target)
            draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
            try:
                open_storage(folder).get_file(part.name, draft)
                _require_sum(draft, part)
                draft.replace(target)
            finally:
                discard_file(draft)

        what = f"packaged {given.sha256}"
        found = [
            self._made(what, lambda target, part=part: write(target, part), (number, len(parts)))
            for number, part in enumerate(parts, 1)
        ]
        return found[0]

    def _check(self, place: Path, given: FilePart, said: Said) -> None:
        """Hold a file against its sum, unless it was as it is now."""
        try:
            found = place.stat()
        except OSError as error:
            raise InvalidModel(
                f"`{place.name}` is not there: {error.strerror}.", hint="Package it again."
            ) from error
        note = self._folder / f"{given.sha256}.checked"
        stamp = f"{place}\n{found.st_size}\n{found.st_mtime_ns}\n"
        with contextlib.suppress(OSError):
            if note.read_text() == stamp:
                return
        said("Checking the packaged file.")
        _require_sum(place, given)
        with contextlib.suppress(OSError):
            if claim(self._folder, OWNER):
                note.write_text(stamp)

    def _made(self, what: str, write: Callable[[Path], None], part: tuple[int, int] = (1, 1)) -> Path:
        """A file of this folder, which is written where it is not there: the whole, or a part and of how many."""
        target = self._folder / f"{hashlib.sha256(f'{WRITER} {what}'.encode()).hexdigest()}.gguf"
        if part[1] > 1:
            target = part_name(target, *part)
        if not claim(self._folder, OWNER):
            raise NotOurs(
                f"`{self._folder}` holds what is not ours: no files are made there.",
                hint="Give another folder for files that are made once.",
            )
        with self._lock:
            self._used.add(target)
        if not _is_used(target):
            with alone(self._cache, target.name):
                if not _is_used(target):  # whoever was earlier did not come to its end
                    with contextlib.suppress(
                        NotOurs
                    ):  # one that waits for nobody was as fast: its file is as good
                        write(target)
        if not target.is_file():
            raise NotOurs(f"`{target}` is no file: it is left as it is.")
        return target

    def release(self, file: Path) -> None:
        """Let a file be removed when there is need of its room."""
        with self._lock:
            self._used.difference_update(parts_beside(file))

    def _make_room(self, target: Path) -> None:
        """Remove the files used longest ago, as many as there are too many of, and what died half-written."""
        with self._lock:
            kept = self._used | {target}
        found: list[tuple[float, int, Path]] = []
        for file in list(self._folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat(follow_symlinks=False)
                if _PART.fullmatch(file.name) and time.time() - facts.st_mtime > _PART_SECONDS:
                    discard_file(file)
                elif _FILE.fullmatch(file.name) and file not in kept:
                    found.append((facts.st_mtime, facts.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self._most_bytes:
                return
            discard_file(file)
            total -= size


def _is_used(file: Path) -> bool:
    """Whether a file is there: it is used now."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(file)
        return True
    return False


def _require_sum(file: Path, given: FilePart) -> None:
    if file.stat().st_size != given.bytes or sha256_of(file) != given.sha256:
        raise InvalidModel(
            f"`{given.name}` is not what was packaged: its sum is another one.",
            hint="Package it again.",
        )


def _percent(words: str, said: Said) -> Progress:
    told = -1

    def hear(tensor: str, done: int, total: int) -> None:
        nonlocal told
        percent = done * 100 // max(total, 1)
        if percent >= told + 5 or done == total:
            told = percent
            said(f"{words}: {percent} %.")

    return hear
