"""The error tree: every failure says what, where, whose fault, whether a retry helps, and the next step.

```
TunesmithError
├── InvalidInput            422  something the user gave is wrong
│   ├── UnknownField        422  a key no spec declares
│   ├── InvalidModel        422  not a trainable model folder
│   ├── NotConvertible      422  a model or an adapter that a GGUF file cannot hold
│   ├── InvalidData         422  a data file or row that cannot be trained on
│   ├── CheckFailed         422  looking at it took more seconds, memory or bytes than it may
│   └── PathNotAllowed      422  outside the allowed roots
├── Unauthorized            401  no key, or a wrong one
├── Forbidden               403  the key's role may not do this
├── NotFound                404
├── Conflict                409  the thing's state forbids it
│   ├── IdempotencyConflict 409  same Idempotency-Key, another body
│   ├── NotOurs             409  something stands there that the task did not make
│   ├── QuotaExceeded       409  more checkpoints than the project's training quota covers
│   ├── StaleAttempt        409  a report from an attempt that is over
│   └── SequenceGap         409  a report that skips events
├── TooLarge                413  over a documented limit
├── TooManyRequests         429
├── NotInstalled            501  a command needs a part of the distribution that is not installed
└── Unavailable             503  a part is away; trying again helps
    ├── CannotConnect       503  the client found no server
    ├── DatabaseBusy        503  the database is locked by another, or does not answer
    ├── DiskFull            503  the database's disk has no room: nothing was stored
    └── NotWell             503  the server answers, but one of its background loops does not work
```

Knows codes, HTTP statuses and wording; knows nothing of HTTP frameworks.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, Field

MAX_PROBLEMS = 20
"""Problems that an error has words for; of the rest it says how many there are."""
_MAX_MESSAGE, _MAX_FIELD = 4000, 500


def shortened(text: str, most: int = 100) -> str:
    """A text that someone else wrote, as it is repeated in a message: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


class Fault(StrEnum):
    """Whose fault a failure is."""

    USER = "user"
    PLATFORM = "platform"
    INFRASTRUCTURE = "infrastructure"


class Problem(BaseModel):
    """One thing that is wrong, at one place."""

    field: str | None = Field(None, description="Where: a field's path, or a file with its line.")
    message: str = Field(description="What is wrong, as a sentence.")
    hint: str | None = Field(None, description="What to do next.")

    def under(self, place: str, sign: str = ".") -> "Problem":
        """The problem with another place before its own.

        Args:
            place: Where what was looked at is to be found.
            sign: What stands between the two.
        """
        return self.model_copy(update={"field": f"{place}{sign}{self.field}" if self.field else place})


class ErrorBody(BaseModel):
    """An error as the API answers it."""

    code: str = Field(description="Stable name of the error, for programs.")
    message: str = Field(description="What happened, as a sentence.")
    hint: str | None = Field(None, description="What to do next.")
    fault: Fault = Field(Fault.USER, description="Whose fault it is.")
    retryable: bool = Field(False, description="Whether the same call may succeed later.")
    problems: list[Problem] = Field(
        default_factory=list, description="Each thing that is wrong, with its place: the first 20."
    )
    more_problems: int = Field(0, ge=0, description="How many more there are.")
    details: dict[str, Any] = Field(default_factory=dict, description="Facts for programs, per code.")


class ErrorResponse(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


class TunesmithError(Exception):
    """Base of every error that a user may meet; each subclass fixes a code and an HTTP status."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    fault: ClassVar[Fault] = Fault.PLATFORM
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        field: str | None = None,
        problems: list[Problem] | None = None,
        more_problems: int = 0,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        found = problems or ([Problem(field=field, message=message, hint=hint)] if field else [])
        self.problems = found[:MAX_PROBLEMS]
        self.more_problems = more_problems + len(found) - len(self.problems)
        self.details = dict(details or {})

    def each_problem(self) -> list[Problem]:
        """Each thing that is wrong; the error itself where it names none."""
        return self.problems or [Problem(message=self.message, hint=self.hint)]

    def in_a_line(self) -> str:
        """Each problem with its place and its cure, on one line: what a script's traceback ends with."""
        if len(self.problems) + self.more_problems < 2:
            place = f"{self.problems[0].field}: " if self.problems and self.problems[0].field else ""
            head = self.message if self.message.startswith(place) else place + self.message
            return " ".join(filter(None, (head, self.hint)))
        told = "; ".join(
            " ".join(filter(None, (f"{one.field}:" if one.field else "", one.message, one.hint)))
            for one in self.problems
        )
        more = f"; and {self.more_problems} more" if self.more_problems else ""
        return f"{len(self.problems) + self.more_problems} things are wrong: {told}{more}"

    def body(self) -> ErrorBody:
        """The error as the API answers it; what it repeats of a request is cut, however long that was."""
        return ErrorBody(
            code=self.code,
            message=shortened(self.message, _MAX_MESSAGE),
            hint=self.hint and shortened(self.hint, _MAX_MESSAGE),
            fault=self.fault,
            retryable=self.retryable,
            problems=[
                Problem(
                    field=problem.field and shortened(problem.field, _MAX_FIELD),
                    message=shortened(problem.message, _MAX_MESSAGE),
                    hint=problem.hint and shortened(problem.hint, _MAX_MESSAGE),
                )
                for problem in self.problems[:MAX_PROBLEMS]
            ],
            more_problems=self.more_problems + max(0, len(self.problems) - MAX_PROBLEMS),
            details=self.details,
        )


class InvalidInput(TunesmithError):
    """Something the user gave is wrong."""

    code = "invalid_input"
    status = 422
    fault = Fault.USER


class UnknownField(InvalidInput):
    """A key that no spec declares."""

    code = "unknown_field"


class InvalidModel(InvalidInput):
    """Not a trainable model folder."""

    code = "invalid_model"


class NotConvertible(InvalidInput):
    """A model or an adapter that a GGUF file cannot hold, or that llama.cpp would compute otherwise."""

    code = "not_convertible"


class InvalidData(InvalidInput):
    """A data file or row that cannot be trained on."""

    code = "invalid_data"


class CheckFailed(InvalidInput):
    """Looking at what was given takes more than it may, or ended its process; `details.bound` names which bound."""

    code = "check_failed"


class PathNotAllowed(InvalidInput):
    """A path outside the allowed roots."""

    code = "path_not_allowed"


class Unauthorized(TunesmithError):
    """No key, or a wrong one."""

    code = "unauthorized"
    status = 401
    fault = Fault.USER


class Forbidden(TunesmithError):
    """The key is known; its role may not do this."""

    code = "forbidden"
    status = 403
    fault = Fault.USER


class NotFound(TunesmithError):
    """Nothing has this name here."""

    code = "not_found"
    status = 404
    fault = Fault.USER


class Conflict(TunesmithError):
    """The state of the thing forbids it."""

    code = "conflict"
    status = 409
    fault = Fault.USER


class IdempotencyConflict(Conflict):
    """The same `Idempotency-Key` was used with another body."""

    code = "idempotency_conflict"


class NotOurs(Conflict):
    """Something stands there that the task did not make: it is left as it is."""

    code = "not_ours"


class QuotaExceeded(Conflict):
    """The project's training quota does not cover it; `details` has `needed`, `available` and `reserved`."""

    code = "quota_exceeded"


class StaleAttempt(Conflict):
    """A report from an attempt that is over."""

    code = "stale_attempt"
    fault = Fault.INFRASTRUCTURE


class SequenceGap(Conflict):
    """A report that skips events; `details.expected_seq` says where to go on."""

    code = "sequence_gap"
    fault = Fault.INFRASTRUCTURE
    retryable = True


class TooLarge(TunesmithError):
    """Over a documented limit."""

    code = "too_large"
    status = 413
    fault = Fault.USER


class TooManyRequests(TunesmithError):
    """More than is served at once."""

    code = "too_many_requests"
    status = 429
    fault = Fault.USER
    retryable = True


class NotInstalled(TunesmithError):
    """A command needs a part of the distribution that is not installed."""

    code = "not_installed"
    status = 501


class Unavailable(TunesmithError):
    """A part is away; the same call may succeed later."""

    code = "unavailable"
    status = 503
    fault = Fault.INFRASTRUCTURE
    retryable = True


class DatabaseBusy(Unavailable):
    """The database is locked by another, or does not answer; nothing was stored."""

    code = "database_busy"


class DiskFull(Unavailable):
    """The database's disk has no room; nothing was stored, and what was acknowledged before is kept."""

    code = "disk_full"


class NotWell(Unavailable):
    """A background loop has ended or stands still; `details.loops` names each with what is the matter."""

    code = "not_well"


class CannotConnect(Unavailable):
    """The client found no server at the address."""

    code = "cannot_connect"


def _descendants(root: type[TunesmithError]) -> list[type[TunesmithError]]:
    found = [root]
    for child in root.__subclasses__():
        found += _descendants(child)
    return found


def by_code() -> dict[str, type[TunesmithError]]:
    """Every error class by its stable code."""
    return {error.code: error for error in _descendants(TunesmithError)}


def from_body(body: ErrorBody, status: int) -> TunesmithError:
    """The error that an API answer stands for; an unknown code becomes a `TunesmithError` with that code."""
    kind = by_code().get(body.code)
    error = (kind or TunesmithError)(
        body.message,
        hint=body.hint,
        problems=body.problems,
        more_problems=body.more_problems,
        details=body.details,
    )
    if kind is None:
        error.code, error.status = body.code, status  # type: ignore[misc]
        error.fault, error.retryable = body.fault, body.retryable  # type: ignore[misc]
    return error
