"""What an `Idempotency-Key` is held against: everything that was sent, in one form."""

from pydantic import BaseModel

from tunesmith.errors import InvalidInput


def sent_as(verb: str, body: BaseModel) -> str:
    """A body under what was asked of it.

    Raises:
        InvalidInput: It is nested so deeply that it cannot be written out.
    """
    return f"{verb} {sent(body)}"


def sent(body: BaseModel) -> str:
    """A body in one form.

    Raises:
        InvalidInput: It is nested so deeply that it cannot be written out.
    """
    try:
        return body.model_dump_json()
    except (ValueError, RecursionError):
        raise InvalidInput("What was sent is nested too deeply.", hint="Write it flatter.") from None
