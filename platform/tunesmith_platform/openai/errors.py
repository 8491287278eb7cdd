"""Errors in OpenAI's form, for everything below the prefix and for nothing else; and a number on every answer.

Whatever refuses a request there (the key, the body's size, an unknown path, a fault of ours) answers in the platform's
own form first; what leaves the server is put into OpenAI's here, once. Knows ASGI and both forms.
"""

import json
import logging
import secrets
import traceback
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.errors import ErrorBody, Fault, TunesmithError
from tunesmith_platform.middleware import REQUEST_ID
from tunesmith_platform.routing import ApiRoute

logger = logging.getLogger(__name__)

PREFIX = "/openai/"
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_STATUS = {409: 400, 405: 400, 422: 400}
"""A wrong state and a wrong value are 400: these clients send 409 again, and read no other form of 422."""
_CODES = {
    "unauthorized": "invalid_api_key",
    "invalid_input": "invalid_value",
    "unknown_field": "unknown_parameter",
    "too_many_requests": "rate_limit_exceeded",
    "unavailable": "replica_unavailable",
    "not_found": "not_found",
}
_FIELDS = {"max_new_tokens": "max_tokens"}
"""Ours, as these clients call them."""
_KEPT = frozenset({b"www-authenticate", b"retry-after", b"connection"})


class OpenAIError(BaseModel):
    """An error in OpenAI's form."""

    message: str
    type: str
    param: str | None = Field(None, description="The field that is wrong.")
    code: str | None = Field(None, description="Stable name of the error, for programs.")


class OpenAIErrorResponse(BaseModel):
    """The body of every answer below the prefix that is not a success."""

    error: OpenAIError


def _described(words: str, code: str, param: str | None, status: int) -> dict[str, Any]:
    error = OpenAIError(message=words, type=_TYPES.get(status, "server_error"), param=param, code=code)
    body = OpenAIErrorResponse(error=error).model_dump(mode="json")
    return {
        "model": OpenAIErrorResponse,
        "description": words,
        "content": {"application/json": {"example": body}},
    }


OF_EVERY_ROUTE: dict[int | str, dict[str, Any]] = {
    400: _described(
        "Something in the request is wrong or cannot be done.", "invalid_value", "temperature", 400
    ),
    401: _described("This API key is not known.", "invalid_api_key", None, 401),
    404: _described("There is no such model.", "model_not_found", "model", 404),
    413: _described("The body is over 1048576 bytes.", "too_large", None, 413),
    429: _described("Too many answers of this key are under way.", "rate_limit_exceeded", None, 429),
    "4XX": _described("Any other refusal.", "forbidden", None, 403),
    500: _described("Something went wrong on our side.", "internal", None, 500),
    503: _described("The model is not served yet.", "model_loading", "model", 503),
}
"""What any call below the prefix may answer."""


class OpenAIRoute(ApiRoute):
    """A route whose errors have OpenAI's form."""

    of_every_route = OF_EVERY_ROUTE


def status_of(status: int) -> int:
    """The status that OpenAI's clients are answered with."""
    return _STATUS.get(status, status)


def as_openai(body: ErrorBody, status: int) -> dict[str, Any]:
    """An error in OpenAI's form.

    Args:
        body: In the platform's own.
        status: Of the answer, as `status_of` gives it.
    """
    field = next((problem.field for problem in body.problems if problem.field), None)
    code = body.details.get("code") or _CODES.get(body.code, body.code)
    if body.code == "not_found" and field == "model":
        code = "model_not_found"
    return {
        "error": {
            "message": " ".join(filter(None, (body.message, body.hint))),
            "type": _TYPES.get(status, "server_error"),
            "param": _FIELDS.get(field or "", field),
            "code": code,
        }
    }


def error_of(error: Exception) -> dict[str, Any]:
    """An error in OpenAI's form, for one that comes after an answer has begun; a fault of ours is logged."""
    if isinstance(error, TunesmithError):
        return as_openai(error.body(), status_of(error.status))
    log_fault("an answer", error)
    return as_openai(_FAULT, HTTPStatus.INTERNAL_SERVER_ERROR)


_FAULT = ErrorBody(
    code="internal",
    message="Something went wrong on our side.",
    hint="`tunesmith logs api` has the details.",
    fault=Fault.PLATFORM,
)


def log_fault(what: str, error: Exception) -> None:
    """Log where something of ours failed, and not its words: they may repeat what somebody asked."""
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s failed: %s\n%s", what, type(error).__name__, places)


class OpenAIErrors:
    """Puts what leaves the server below the prefix into OpenAI's form: an ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        root = scope.get("root_path", "")
        if scope["type"] != "http" or not scope["path"].removeprefix(root).startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        answer = _Answering(send)
        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            if answer.is_begun:
                raise
            log_fault(f"{scope['method']} {scope['path']}", error)
            await answer.fail(_FAULT, HTTPStatus.INTERNAL_SERVER_ERROR)


class _Answering:
    """One answer on its way out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._number = f"req_{secrets.token_hex(12)}".encode()
        self._start: Message | None = None
        self._body = b""
        self.is_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= HTTPStatus.BAD_REQUEST:
                self._start = message
                return
            self.is_begun = True
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID, self._number)]
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._convert(self._start)
            return
        await self._send(message)

    async def fail(self, body: ErrorBody, status: int) -> None:
        """Answer with an error."""
        await self._error(body, status, [])

    async def _convert(self, start: Message) -> None:
        self._start = None
        try:
            body = ErrorBody.model_validate(json.loads(self._body)["error"])
        except (ValueError, KeyError, TypeError):  # of a part that knows no form of ours
            body = ErrorBody(code="http", message=f"The status is {start['status']}.")
        kept = [(name, value) for name, value in start.get("headers", ()) if name.lower() in _KEPT]
        await self._error(body, start["status"], kept)

    async def _error(self, body: ErrorBody, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.is_begun = True
        status = status_of(status)
        content = json.dumps(as_openai(body, status), ensure_ascii=False).encode()
        headers = [
            *headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (REQUEST_ID, self._number),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": content})
