"""Data sets: the registry, resumable uploads, reports on files, and rows under the microscope.

Knows the data sets' endpoints and views; knows no HTTP.
"""

import builtins
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.dataset_views import DataPreview, DataReport, DatasetView, UploadView
from tunesmith.errors import Conflict, InvalidInput, NotFound, TunesmithError

View = TypeVar("View", bound=BaseModel)
PIECE_BYTES = 8 * 1024**2


class Datasets:
    """`client.datasets`: every call on data sets. One is named by its id, its name, or `name@number`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[DatasetView]:
        """Every data set by name, each with its newest version."""
        after: str | None = None
        while True:
            raw = self._transport.call("GET", "/v1/datasets", query={"after": after, "limit": 200})
            page = self._view(views.Page[DatasetView], raw)
            yield from page.data
            if not page.has_more:
                return
            after = page.next

    def show(self, dataset: str) -> DatasetView:
        """A data set with its versions."""
        return self._view(DatasetView, self._transport.call("GET", _path(dataset)))

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
                upload = (
                    self._view(UploadView, self._transport.call("GET", _upload(resume))) if resume else None
                )
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

    def remove(self, dataset: str) -> None:
        """Remove a data set, or one version of it.

        Raises:
            Conflict: A task that is not over reads it.
        """
        repeats: builtins.list[TunesmithError] = []
        try:
            self._transport.call("DELETE", _path(dataset), on_retry=repeats.append)
        except NotFound:
            if not repeats:  # else the first try removed it, and only its answer was lost
                raise

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

    def _view(self, view: type[View], raw: Any) -> View:
        try:
            return view.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(dataset: str) -> str:
    if dataset in {"", ".", ".."}:  # these would lead to another endpoint
        raise InvalidInput("A data set's id or name is needed.", hint="`tunesmith data list` shows them.")
    return f"/v1/datasets/{quote(dataset, safe='@')}"


def _upload(upload_id: str) -> str:
    return f"/v1/uploads/{quote(upload_id, safe='')}"
