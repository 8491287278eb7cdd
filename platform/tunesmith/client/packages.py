"""Packages, from Python: make GGUF files of a model, see what was proven, fetch them.

Knows the packages' endpoints and views; knows no HTTP.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunesmith import views
from tunesmith.client.download import Download
from tunesmith.client.evaluations import Evaluations
from tunesmith.errors import NotFound
from tunesmith.package_views import (
    PackageLinkView,
    PackageSummary,
    PackageView,
    PruneView,
    WhichView,
)
from tunesmith.spec.package import new_package
from tunesmith.spec.package_choices import MERGE_AND_QUANTIZE
from tunesmith.spec.upload import new_upload

_PAGE = 200


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

    def save_package_file(
        self,
        task: str,
        name: str,
        file: Path,
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Write a file of a package here. It is there only once it is complete and is what was stored.

        What was cut off lies beside it meanwhile; a further call goes on behind it.

        Args:
            task: The packaging; its id or its name.
            name: The file's.
            file: Where it goes.
            overwrite: Whether one that is there is replaced.
            progress: Told how many bytes of how many are here.

        Raises:
            NotFound: The package has no such file.
            NotOurs: The file is there, and `overwrite` is not set; or another process fetches it.
            InvalidInput: The disk does not hold it.
            Unavailable: It did not come whole.

        Returns:
            Its bytes.
        """
        offered = self.packaged(task).offered()
        if name not in offered:
            listed = ", ".join(f"`{one}`" for one in offered)
            raise NotFound(f"This package has no file `{name}`.", hint=f"It has {listed}.")
        path = f"{self._path(task)}/package/files/{quote(name, safe='')}"
        return Download(self._transport, path, offered[name]).into(
            file, overwrite=overwrite, progress=progress
        )

    def upload(
        self,
        task: str,
        repository: str,
        *,
        public: bool = False,
        name: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> views.TaskView:
        """Submit the upload of a package, or a trained model, to a repository of the Hub. Again: it goes on.

        Args:
            task: Whose result; its id or its name.
            repository: `owner/name`; made where there is none, and private.
            public: Whether everybody may see it.
            name: Of the task that is made.
            idempotency_key: See `create_task`.
            parameters: Any other parameter of an upload.

        Raises:
            InvalidInput: Something cannot be used; each problem names its place and its cure.
        """
        spec = {"task_id": self.task(task).id, "repo_id": repository, "public": public, **parameters}
        return self.create_task(new_upload(spec, **({"name": name} if name else {})), idempotency_key)

    def packages(self, of_task: str | None = None) -> Iterator[PackageSummary]:
        """Packages, the newest first.

        Args:
            of_task: Only those of this training; its id or its name.
        """
        query = {} if of_task is None else {"of_task": self.task(of_task).id}
        return self._pages(PackageSummary, "/v1/packages", _PAGE, query)

    def pin_package(self, task: str, *, is_pinned: bool = True) -> PackageSummary:
        """Let a package stay whatever its age, or not any more.

        Raises:
            NotFound: The task has made none.
        """
        verb = "pin" if is_pinned else "unpin"
        return self._view(PackageSummary, self._transport.call("POST", f"{self._path(task)}/package:{verb}"))

    def prune_packages(
        self, keep_last: int | None = None, keep_days: float | None = None, *, dry_run: bool = True
    ) -> PruneView:
        """Remove packages that are kept no longer, or only see which these are.

        Args:
            keep_last: So many of each model stay, the newest.
            keep_days: Those stay that are no older. What the platform's settings say where neither is given.
            dry_run: Whether nothing is removed.
        """
        body = {"keep_last": keep_last, "keep_days": keep_days, "dry_run": dry_run}
        return self._view(PruneView, self._transport.call("POST", "/v1/packages:prune", body=body))

    def link_package_file(self, task: str, name: str, seconds: int | None = None) -> PackageLinkView:
        """An address of one file that needs no key, for so long.

        Args:
            task: The packaging; its id or its name.
            name: The file's.
            seconds: How long it counts; a day when None.

        Raises:
            NotFound: The package has no such file.
        """
        body = {"file": name} | ({} if seconds is None else {"seconds": seconds})
        raw = self._transport.call("POST", f"{self._path(task)}/package/links", body=body)
        return self._view(PackageLinkView, raw)
