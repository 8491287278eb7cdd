"""What the control plane hands to a job that uploads to the Hub, and what a card says of its license.

No token is in it: the job reads it where it runs.
"""

from typing import Any

import yaml
from pydantic import Field

from tunesmith.job import AttemptDocument

_HEAD_CHARACTERS = 20_000


class UploadDocument(AttemptDocument):
    """Everything an upload needs."""

    model_uri: str = Field(description="The folder that is uploaded: a result with its manifest.")
    environment: list[str] = Field(
        default_factory=list, description="Variables of the environment that may hold the token."
    )


def card_license(card: bytes | None) -> str | None:
    """The license that a card's head names; None where it names none."""
    head = (card or b"")[:_HEAD_CHARACTERS].decode(errors="replace")
    if not head.startswith("---\n"):
        return None
    try:
        found: Any = yaml.safe_load(head[4:].partition("\n---")[0])
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    named = found.get("license_name") or found.get("license")
    return str(named)[:120] if named else None
