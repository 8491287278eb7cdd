"""Where a task's files lie in storage, and the manifest that makes a checkpoint trustworthy.

```
<artifact_uri>/checkpoints/checkpoint-<step>/   adapter or weights, optimizer, scheduler, RNG, trainer state,
                                                manifest.json written last
<artifact_uri>/model/                           the final model, with a manifest too
```

A checkpoint counts only when its manifest is there and every file has the size and sha256 that it names (I6).
Knows names and hashes; `tunesmith.storage` knows how to reach the bytes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CHECKPOINTS = "checkpoints"
FINAL_MODEL = "model"
EVALUATION = "evaluation"
"""The folder of what an evaluation found."""
PACKAGE = "package"
"""The folder of GGUF files."""
RESULTS = (FINAL_MODEL, EVALUATION, PACKAGE)
"""What a task may leave in its artifact folder beside checkpoints, each a folder with a manifest."""
MANIFEST = "manifest.json"
_PIECE_BYTES = 2**20
_CHECKPOINT_NAME = re.compile(r"^checkpoint-(\d+)$")


def checkpoint_name(step: int) -> str:
    """`checkpoint-<step>`, the folder name that Hugging Face's Trainer uses."""
    return f"checkpoint-{step}"


def checkpoint_step(name: str) -> int | None:
    """The step in a checkpoint's folder name; None when it is no checkpoint folder."""
    match = _CHECKPOINT_NAME.match(name)
    return int(match.group(1)) if match else None


class ManifestFile(BaseModel):
    """One file of a checkpoint."""

    path: str = Field(description="Relative to the checkpoint's folder, with forward slashes.")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """Everything a checkpoint holds. Written last: its presence says that the rest is there."""

    model_config = ConfigDict(extra="ignore")
    format: Literal[1] = 1
    task_id: str
    attempt: int
    step: int
    kind: Literal["checkpoint", "model", "evaluation", "package"] = "checkpoint"
    base_model: str | None = None
    chat_template_sha256: str | None = None
    files: list[ManifestFile]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, the manifest itself not counted."""
        return sum(file.bytes for file in self.files)

    def encode(self) -> bytes:
        """The manifest's bytes, the same for the same content."""
        return (json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> "Manifest | None":
        """Read a manifest; None when the bytes are not one (a write was cut off)."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return None


def sha256_of(path: Path, advance: Callable[[int], None] = lambda count: None) -> str:
    """The sha256 of a file, in hex; `advance` is told how many bytes more were read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()


def list_files(
    folder: Path, sums: Mapping[Path, str] | None = None, advance: Callable[[int], None] = lambda count: None
) -> list[ManifestFile]:
    """Every file below a folder except the manifest, hashed, in order of their paths.

    Args:
        folder: The folder.
        sums: The sha256 of files that need not be read for it.
        advance: Told how many bytes more were read.
    """
    known = sums or {}
    return [
        ManifestFile(
            path=path.relative_to(folder).as_posix(),
            bytes=path.stat().st_size,
            sha256=known.get(path) or sha256_of(path, advance),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    ]


def faults_of(folder: Path) -> list[str]:
    """What is wrong with a local checkpoint folder; empty when it is whole.

    Checks the manifest, then every file's presence, size and sha256. A file that the manifest does not name is a
    fault too: nobody but us wrote into the folder.
    """
    try:
        manifest = Manifest.decode((folder / MANIFEST).read_bytes())
    except OSError:
        return [f"`{MANIFEST}` is missing: the checkpoint was never finished"]
    if manifest is None:
        return [f"`{MANIFEST}` is not readable"]
    faults: list[str] = []
    named = {file.path for file in manifest.files}
    for file in manifest.files:
        path = folder / file.path
        if ".." in Path(file.path).parts or not path.is_file() or path.is_symlink():
            faults.append(f"`{file.path}` is missing")
        elif path.stat().st_size != file.bytes:
            faults.append(f"`{file.path}` has {path.stat().st_size} bytes instead of {file.bytes}")
        elif sha256_of(path) != file.sha256:
            faults.append(f"`{file.path}` has another content than was saved")
    faults += [
        f"`{path.relative_to(folder).as_posix()}` is not in the manifest"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and path.relative_to(folder).as_posix() not in named
    ]
    return faults
