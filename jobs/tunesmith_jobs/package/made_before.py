"""A file that was made before of the same inputs: taken from its package, with its proof, instead of made anew.

Told by content: the weights and the words byte by byte, the type, the importance matrix, and who writes. Never a file
whose bytes are not those that were proven. Knows storages and proofs; knows nothing of how files are written.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import tunesmith
from tunesmith.artifacts import PACKAGE, sha256_of
from tunesmith.gguf import FileType
from tunesmith.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, public_name, weight_files
from tunesmith.model_step import MadeBefore
from tunesmith.removal import discard_file
from tunesmith.storage import open_storage
from tunesmith_jobs.artifact_store import ArtifactStore, link_or_copy
from tunesmith_jobs.models.gguf_proof.proof import PROOF_FILE, Proof, concluded
from tunesmith_jobs.package.files import Order

_WRITER = 1
"""Rises when the same inputs would give another file, or another proof."""
_CONFIG = "config.json"
_log = logging.getLogger("tunesmith_jobs.package")


class Inputs(NamedTuple):
    """What files are made of."""

    base: Path
    adapter: Path | None
    words: Path
    matrix: str | None
    """What tells the importance matrix."""


class Taken(NamedTuple):
    """A file that was made before."""

    bytes: int
    proof: Proof
    task_id: str
    """The package that it is from."""


def print_of(inputs: Inputs, advance: Callable[[int], None]) -> str:
    """What tells the inputs of all files of a package, whatever their type; reads every byte of them once.

    Args:
        inputs: What they are made of.
        advance: Told how many bytes more were read; what it raises ends it.
    """
    told: list[object] = [_WRITER, tunesmith.__version__, _version("xllamacpp"), public_name(inputs.base)]
    files = [*weight_files(inputs.base), inputs.base / _CONFIG]
    if inputs.adapter is not None:
        files += [inputs.adapter / ADAPTER_WEIGHTS, inputs.adapter / ADAPTER_CONFIG]
    files += sorted(file for file in inputs.words.rglob("*") if file.is_file())
    told += [[file.name, sha256_of(file, advance)] for file in files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def key_of(inputs_print: str, file_type: FileType, matrix: str | None) -> str:
    """What tells a file: everything that it is made of, and its type.

    Args:
        inputs_print: See `print_of`.
        file_type: What it is stored as.
        matrix: What tells the importance matrix; left out of types that it does not change.
    """
    is_rounded = file_type.is_quantised and file_type is not FileType.Q8_0
    told = [inputs_print, file_type.value, matrix if is_rounded else None]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def take(
    order: Order,
    key: str,
    before: Sequence[MadeBefore],
    target: Path,
    advance: Callable[[int], None],
    store: ArtifactStore | None,
) -> Taken | None:
    """Lay a file that was made before in place, by a hard link where that can be; None where there is none.

    Args:
        order: The file that is wanted.
        key: What tells it.
        before: What was made.
        target: Where it goes.
        advance: Told how many bytes more were read; what it raises ends it.
        store: Where the package goes, so that a server that has both copies it; None where the file is needed here.
    """
    for one in before:
        if one.key == key:
            with contextlib.suppress(OSError, ValueError):
                found = _taken(order, one, target, advance, store)
                if found is not None:
                    return found
            _log.warning("`%s` of package `%s` is not what it was: it is made anew.", one.name, one.task_id)
            discard_file(target)
    return None


def _taken(
    order: Order, one: MadeBefore, target: Path, advance: Callable[[int], None], store: ArtifactStore | None
) -> Taken | None:
    storage = open_storage(one.uri)
    proof = Proof.model_validate_json(storage.read(f"{one.name}.{PROOF_FILE}") or b"")
    if proof.verdict != "proven" or proof.sha256 != one.sha256:
        return None
    proof = concluded(proof.model_copy(update={"file": order.name}))
    if store is not None:
        try:
            copied = store.copy_there(one.uri, one.name, f"{PACKAGE}/{order.name}", one.sha256, advance)
        except OSError as error:
            copied = None
            _log.warning("`%s` is not copied where it lies, but fetched: %s", one.name, error)
        if copied is not None:
            return Taken(copied.bytes, proof, one.task_id)
    here = storage.local(one.name)
    if here is None:
        storage.get_file(one.name, target)
    elif here.is_symlink() or not here.is_file():
        return None
    else:
        link_or_copy(here, target)
    # What lies in the storage may have been changed: it is taken for what was proven only after it was read.
    if sha256_of(target, advance) != one.sha256:
        return None
    return Taken(target.stat().st_size, proof, one.task_id)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
