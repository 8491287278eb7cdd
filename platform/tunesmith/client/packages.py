"""Packages, from Python: make GGUF files of a model, see what was proven, fetch them.

Knows the packages' endpoints and views; knows no HTTP.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunesmith import views
from tunesmith.client.evaluations import Evaluations
from tunesmith.errors import Unavailable
from tunesmith.package_views import PackageView, WhichView
from tunesmith.removal import new_file
from tunesmith.spec.package import MERGE_AND_QUANTIZE, new_package


class Packages(Evaluations):
    """Every call on packages; they are the client's own methods."""

    def package(
        self,
        task: str | None = None,
        types: Sequence[str] | None = None,
        *,
        checkpoint: int | None = None,
        preset: str = MERGE_AND_QUANTIZE,
        name: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> views.TaskView:
        """Submit the packaging of a task's model as GGUF files, each proven in llama.cpp.

        Args:
            task: Whose model; its id or its name. None where `model_name_or_path` is given.
            types: What files are stored as, a file each; Q4_K_M when None.
            checkpoint: The step of its checkpoint; the recommended one, the best, or the last when None.
            preset: What is written.
            name: Of the task that is made.
            idempotency_key: See `create_task`.
            parameters: Any other parameter of packaging.

        Raises:
            InvalidInput: Something cannot be used; each problem names its place and its cure.
        """
        spec: dict[str, Any] = {"preset": preset, **parameters}
        if task is not None:
            spec["task_id"] = self.task(task).id
        if checkpoint is not None:
            spec["checkpoint"] = checkpoint
        if types is not None:
            spec["quant_types"] = list(types)
        return self.create_task(new_package(spec, **({"name": name} if name else {})), idempotency_key)

    def which_package(
        self, task: str, *, checkpoint: int | None = None, limit: int | None = None, context: int = 4096
    ) -> WhichView:
        """The files of a task's model beside each other, and which is the one for a machine.

        Args:
            task: The training, or a package; its id or its name.
            checkpoint: Files of this step alone.
            limit: Of memory to run it, in bytes.
            context: Tokens that it is to run at.

        Raises:
            InvalidInput: It neither trains a model nor packages one.
        """
        query = {"checkpoint": checkpoint, "limit": limit, "context": context}
        found = self._transport.call("GET", f"{self._path(task)}/package/which", query=query)
        return self._view(WhichView, found)

    def packaged(self, task: str) -> PackageView:
        """The files that a task made, and what was proven of each.

        Raises:
            NotFound: It has made none.
        """
        return self._get(PackageView, f"{self._path(task)}/package")

    def save_package_file(self, task: str, name: str, file: Path, *, overwrite: bool = False) -> int:
        """Write a file of a package here. It is there only once it is complete and is what was stored.

        Raises:
            NotFound: The package has no such file.
            NotOurs: The file is there, and `overwrite` is not set.
            Unavailable: It did not come whole.

        Returns:
            Its bytes.
        """
        sums = {one.name: one.sha256 for one in self.packaged(task).files}
        digest, size = hashlib.sha256(), 0
        with (
            new_file(file, overwrite=overwrite) as stream,
            self._transport.open_file(f"{self._path(task)}/package/files/{quote(name, safe='')}") as pieces,
        ):
            for piece in pieces:
                digest.update(piece)
                size += stream.write(piece)
            if sums.get(name, digest.hexdigest()) != digest.hexdigest():
                raise Unavailable(f"`{name}` did not come whole.", hint="Fetch it again.")
        return size
