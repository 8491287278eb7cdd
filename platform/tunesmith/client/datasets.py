"""Data sets: the registry, resumable uploads, reports on files, and rows under the microscope.

Knows the data sets' endpoints and views; knows no HTTP.
"""

import builtins
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunesmith.client.calls import Calls, path_of
from tunesmith.dataset_views import DataPreview, DataReport, DatasetView, UploadView
from tunesmith.errors import Conflict, InvalidInput
from tunesmith.views import TaskView

PIECE_BYTES = 8 * 1024**2


class Datasets(Calls):
    """`client.datasets`: every call on data sets. One is named by its id, its name, or `name@number`."""

    def list(self) -> Iterator[DatasetView]:
        """Every data set by name, each with its newest version."""
        return self._pages(DatasetView, "/v1/datasets", 200)

    def show(self, dataset: str) -> DatasetView:
        """A data set with its versions."""
        return self._get(DatasetView, _path(dataset))

    def register(self, source: str, name: str | None = None) -> DatasetView:
        """Register a file by its path or URI, as the server sees it; the same bytes again are found, not made twice.

        Args:
            source: An absolute path, or `s3://bucket/key`.
            name: The data set; the file's own name when None.

        Raises:
            InvalidData: It holds no rows that can be read.
            PathNotAllowed: It lies outside what the server may read.
        """
        body = {"source": source} | ({"name": name} if name else {})
        return self._view(DatasetView, self._transport.call("POST", "/v1/datasets", body=body))

    def run(
        self,
        operation: str,
        parameters: Mapping[str, Any],
        into: str | None = None,
        *,
        idempotency_key: str | None = None,
        **envelope: Any,
    ) -> TaskView:
        """Run an operation on data sets as a task; its rows become the next version of a data set.

        Args:
            operation: `load`, `concat`, `select`, `filter`, `map`, `split`, `shuffle`, `dedup` or `mix`.
            parameters: The operation's. A data set is named by `name`, `name@number` or a path of the server.
            into: The data set whose next version is made.
            idempotency_key: The same key and body again answer the same task. One is made when none is given.
            envelope: The task's `name`, `project`, `priority`, `tags`, `notes`.

        Raises:
            InvalidInput: A parameter is not right, or names what may not be read.
        """
        body = {"operation": operation, "parameters": dict(parameters)} | envelope
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        raw = self._transport.call(
            "POST", "/v1/datasets:run", body=body | ({"into": into} if into else {}), headers=headers
        )
        return self._view(TaskView, raw)

    def upload(
        self,
        file: str | Path,
        name: str | None = None,
        *,
        resume: str | None = None,
        on_piece: Callable[[UploadView], None] | None = None,
    ) -> DatasetView:
        """Send a file of this machine. A line that breaks is taken up again where it broke.

        Args:
            file: The file.
            name: The data set; the file's own name when None.
            resume: The id of an upload that was begun before.
            on_piece: Told how far it is.

        Raises:
            InvalidInput: The file cannot be read, or another upload is to be resumed with it.
            InvalidData: It holds no rows that can be read.
            TooLarge: It is larger than the server takes.
        """
        path = Path(file)
        try:
            with path.open("rb") as source:
                size = path.stat().st_size
                upload = self._get(UploadView, _upload(resume)) if resume else None
                if upload is None:
                    upload = self._begin(path, size, name)
                if upload.bytes != size:
                    raise InvalidInput(
                        f"The upload `{upload.id}` is of a file of {upload.bytes} bytes; `{file}` has {size}.",
                        hint="Begin it anew.",
                    )
                while upload.offset < size:
                    source.seek(upload.offset)
                    upload = self._send(upload, source.read(PIECE_BYTES))
                    if on_piece:
                        on_piece(upload)
        except OSError as error:
            raise InvalidInput(
                f"`{file}` cannot be read: {error.strerror}.", hint="Check its path."
            ) from error
        return self._view(DatasetView, self._transport.call("POST", f"{_upload(upload.id)}:finish"))

    def uploads(self) -> builtins.list[UploadView]:
        """Your own uploads that are under way, oldest first: `upload(..., resume=<id>)` goes on with one."""
        raw = self._transport.call("GET", "/v1/uploads")
        return [self._view(UploadView, item) for item in raw["data"]]

    def give_up(self, upload_id: str) -> None:
        """Give an upload up; what has arrived of it is removed."""
        self._delete(_upload(upload_id))

    def remove(self, dataset: str) -> None:
        """Remove a data set, or one version of it.

        Raises:
            Conflict: A task that is not over reads it.
        """
        self._delete(_path(dataset))

    def validate(
        self,
        file: str,
        *,
        eval_file: str | None = None,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        allowed_bad_percent: float = 0.0,
    ) -> DataReport:
        """What a file of the server holds, and what is wrong with it.

        Args:
            file: An absolute path, as the server sees it, or a data set.
            eval_file: Held-out rows.
            model: Count tokens as this model reads them.
            parameters: Training parameters that decide how rows are read.
            allowed_bad_percent: Share of the rows that may be bad.

        Raises:
            InvalidData: It is of no use as a whole.
        """
        body = {
            "file": file,
            "eval_file": eval_file,
            "model": model,
            "parameters": dict(parameters or {}),
            "allowed_bad_percent": allowed_bad_percent,
        }
        return self._view(DataReport, self._transport.call("POST", "/v1/datasets:validate", body=body))

    def preview(
        self,
        file: str,
        model: str,
        *,
        rows: Sequence[int] = (),
        first: int = 1,
        parameters: Mapping[str, Any] | None = None,
    ) -> DataPreview:
        """Rows as they would be trained.

        Args:
            file: An absolute path, as the server sees it, or a data set.
            model: The model that would learn.
            rows: Their lines, or their numbers in an array or table.
            first: How many of the first rows, where none is named.
            parameters: Training parameters that decide how rows are read.

        Raises:
            NotFound: The file has no such row.
            InvalidData: It is of no use as a whole.
        """
        body = {
            "file": file,
            "model": model,
            "rows": builtins.list(rows),
            "first": first,
            "parameters": dict(parameters or {}),
        }
        return self._view(DataPreview, self._transport.call("POST", "/v1/datasets:preview", body=body))

    def _begin(self, path: Path, size: int, name: str | None) -> UploadView:
        body: dict[str, Any] = {"file_name": path.name, "bytes": size, "sha256": _sha256(path)}
        raw = self._transport.call("POST", "/v1/uploads", body=body | ({"name": name} if name else {}))
        return self._view(UploadView, raw)

    def _send(self, upload: UploadView, piece: bytes) -> UploadView:
        try:
            raw = self._transport.call(
                "PUT", _upload(upload.id), query={"offset": upload.offset}, content=piece
            )
        except Conflict as error:  # the server has less than it said: it lost what it had not written
            if not isinstance(error.details.get("offset"), int):
                raise
            return upload.model_copy(update={"offset": error.details["offset"]})
        return self._view(UploadView, raw)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(dataset: str) -> str:
    shown_by = "tunesmith data list"
    return path_of("/v1/datasets", dataset, what="A data set's id or name", shown_by=shown_by, safe="@")


def _upload(upload_id: str) -> str:
    return f"/v1/uploads/{quote(upload_id, safe='')}"
