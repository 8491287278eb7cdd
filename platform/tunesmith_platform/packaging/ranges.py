"""A file over HTTP from wherever it is asked: one range, told by its sha256, so that a download goes on (RFC 9110, 14).

Knows HTTP; knows no package and no storage.
"""

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Annotated, NamedTuple
from urllib.parse import quote

from fastapi import Header
from starlette.responses import Response, StreamingResponse

Range = Annotated[
    str | None, Header(max_length=200, description="`bytes=1000-`: the part from there on; one range.")
]
IfRange = Annotated[
    str | None,
    Header(max_length=200, description="The `ETag` of a part that is there: of another file all comes."),
]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TYPE = "application/octet-stream"


class Sent(NamedTuple):
    """A file that is handed out."""

    name: str
    size: int
    sha256: str
    pieces: Callable[[int, int], Iterator[bytes]]
    """Its bytes, from a place on, so many."""


def answer(file: Sent, wanted: str | None, if_range: str | None) -> Response:
    """The file, or the part of it that is asked for.

    A range that cannot be read, and several at once, are answered with all of it, as the standard allows.

    Args:
        file: What is handed out.
        wanted: The header `Range`.
        if_range: The header `If-Range`.
    """
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-transform",
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(file.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    start, end = 0, file.size
    status = HTTPStatus.OK
    found = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if found and any(found.groups()) and if_range in (None, etag):
        start, end = _span(found[1], found[2], file.size)
        if start >= end:
            return Response(
                status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                headers=headers | {"Content-Range": f"bytes */{file.size}"},
            )
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(file.pieces(start, end - start), status, headers, media_type=_TYPE)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """The bytes from one to before another; nothing lies between where none of them is in the file."""
    if not first:  # so many from the end
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
