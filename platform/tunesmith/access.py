"""How a browser comes in: what the API answers to who makes a link, and to who is signed in."""

import datetime as dt

from pydantic import BaseModel, ConfigDict, Field

CODE_SECONDS = 300
"""How long a link counts: long enough to copy it to another machine's browser."""


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class SignInLink(_View):
    """An address that signs one browser in."""

    url: str = Field(description="With the code; it counts once.")
    studio_url: str = Field(description="Where the studio is from then on.")
    valid_seconds: int


class SessionView(_View):
    """Who one is here."""

    name: str = Field(description="Of the key that was shown, or that the session stands for.")
    role: str
    expires_at: dt.datetime | None = Field(
        None, description="When the browser's session ends; null for a key."
    )
