"""How errors are described in the API's description, each status with an example. Knows no noun and no route."""

from http import HTTPStatus
from typing import Any

from tunesmith.errors import ErrorBody, ErrorResponse, Fault

_EXAMPLES: dict[int, ErrorBody] = {
    401: ErrorBody(
        code="unauthorized",
        message="This API key is not known.",
        hint="Set `TUNESMITH_API_KEY`.",
        fault=Fault.USER,
    ),
    403: ErrorBody(
        code="forbidden",
        message="The key of `ann` has the role `member`: this is for administrators.",
        hint="Ask an administrator, or use an administrator's key.",
        fault=Fault.USER,
    ),
    404: ErrorBody(code="not_found", message="There is no task `task-01k9x`.", fault=Fault.USER),
    409: ErrorBody(
        code="conflict",
        message="A running task cannot be deleted.",
        hint="Stop it first: `tunesmith stop task-01k9x`.",
        fault=Fault.USER,
    ),
    413: ErrorBody(code="too_large", message="The body is over 33554432 bytes.", fault=Fault.USER),
    422: ErrorBody(
        code="unknown_field",
        message="spec.lora_rnk: `lora_rnk` is not a known field.",
        hint="Did you mean `r`?",
        fault=Fault.USER,
    ),
    503: ErrorBody(
        code="unavailable",
        message="The database does not answer.",
        fault=Fault.INFRASTRUCTURE,
        retryable=True,
    ),
    429: ErrorBody(
        code="too_many_requests",
        message="You have 16 uploads open already.",
        hint="Finish one of them, or give it up: `tunesmith data uploads` lists them.",
        fault=Fault.USER,
        retryable=True,
    ),
    500: ErrorBody(code="internal", message="Something went wrong on our side.", fault=Fault.PLATFORM),
}


def described(status: int) -> dict[str, Any]:
    """An error that an endpoint may answer, for its `responses`.

    Args:
        status: The error's HTTP status.
    """
    return {
        "model": ErrorResponse,
        "description": HTTPStatus(status).phrase,
        "content": {
            "application/json": {"example": ErrorResponse(error=_EXAMPLES[status]).model_dump(mode="json")}
        },
    }


OF_EVERY_ROUTE: dict[int | str, dict[str, Any]] = {
    status: described(status) for status in (413, 429, 500, 503)
}
"""Of every route: an address or a body may be too long, calls too many, the database locked, and we may be wrong."""
