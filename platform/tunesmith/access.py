"""Who comes in, with what: keys, roles and projects as the API takes and answers them; how a browser comes in."""

import datetime as dt
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tunesmith.spec.given import Given

CODE_SECONDS = 300
"""How long a link counts: long enough to copy it to another machine's browser."""
PersonName = Annotated[
    str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True, pattern=r"^[^\x00-\x1f/\\]+$")
]
ProjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True, pattern=r"^[^\x00-\x1f/\\]+$")
]


class Role(StrEnum):
    """What who comes in may do, from the least to the most."""

    VIEWER = "viewer"
    """Reads what its projects have."""
    MEMBER = "member"
    """Works in its projects: starts, changes, deletes."""
    ADMIN = "admin"
    """Does all, everywhere: keys, projects, quotas, webhooks too."""

    @property
    def rank(self) -> int:
        """How much it may: a higher one may all that a lower one may."""
        return list(Role).index(self)

    @classmethod
    def stored(cls, name: str) -> "Role":
        """The role of a name that we have stored; one that only a newer version knows may read alone."""
        return next((role for role in cls if role == name), cls.VIEWER)


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class SignInLink(_View):
    """An address that signs one browser in."""

    url: str = Field(description="With the code; it counts once.")
    studio_url: str = Field(description="Where the studio is from then on.")
    valid_seconds: int


class SignInProvider(_View):
    """An identity provider that signs browsers in."""

    name: str = Field(description="What the button is to call it.")
    path: str = Field(
        description="Where a browser begins, below the platform's address; `?next=` names a page of the studio."
    )
    sign_out: str = Field(
        description="Where a browser goes whose session here has ended, below the platform's address: the provider "
        "ends its own where it can, and the studio comes after."
    )


class SignInOptions(_View):
    """How a browser may come in besides by a link and a key."""

    providers: list[SignInProvider]


class SignInFailure(StrEnum):
    """Why a provider's sign-in let nobody in: the studio's address ends in it, `#/refused/<why>`."""

    LOST = "lost"
    """It was begun in another browser, or long ago, or was finished already."""
    CANCELLED = "cancelled"
    """Whoever signed in broke it off at the provider."""
    REFUSED = "refused"
    """What the provider sent does not hold."""
    NO_ROLE = "no-role"
    """The person has no role here."""
    NO_NAME = "no-name"
    """The provider tells no name that can be theirs."""
    AWAY = "away"
    """The provider does not answer, or not as one."""


class SessionView(_View):
    """Who one is here."""

    name: str = Field(description="Of the key that was shown, or that the session stands for.")
    role: str
    projects: list[str] | None = Field(None, description="The projects one works in; null: all.")
    expires_at: dt.datetime | None = Field(
        None, description="When the browser's session or the key ends; null: it does not by itself."
    )


class NewKey(Given):
    """A key that is to be made."""

    name: PersonName | None = Field(
        None, description="Whose it is: what is made with it is this name's. Your own when left out."
    )
    role: Role = Field(Role.MEMBER, description="`viewer` reads, `member` works, `admin` does all.")
    projects: Annotated[list[ProjectName], Field(min_length=1, max_length=100)] | None = Field(
        None, description="The projects it works in; `default` when left out. An administrator's has all."
    )
    all_projects: bool = Field(False, description="Whether it works in every project, also those to come.")
    expires_at: AwareDatetime | None = Field(
        None, description="When it ends by itself, with the zone; never when left out."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> "NewKey":
        if self.projects is not None and (self.all_projects or self.role is Role.ADMIN):
            raise ValueError(
                "A key has projects of its own or all of them, and an administrator's has all: leave `projects` out."
            )
        return self


class KeyView(_View):
    """A key, without its secret."""

    id: str
    name: str = Field(description="Whose it is.")
    role: str
    projects: list[str] | None = Field(description="Where it works; null: everywhere.")
    created_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None = Field(None, description="When it ends by itself; null: never.")
    revoked_at: dt.datetime | None = Field(None, description="Since when it counts no more; null: it counts.")
    used_at: dt.datetime | None = Field(
        None, description="When it was last used, to the hour; null: never yet."
    )


class MadeKey(_View):
    """A key that was just made."""

    key: KeyView
    secret: str = Field(description="What is shown with each call. It is told here alone, and kept nowhere.")


class AuditEntry(_View):
    """What somebody did: a call that changed something."""

    id: int
    time: dt.datetime
    who: str
    role: str
    key_id: str = Field(description="The key that was shown, or that the browser's session stands for.")
    action: str = Field(description="The operation, as the API's description calls it.")
    subject: str = Field(description="What it was done to, or what it made; empty where it has no name.")
    request_id: str = Field(description="The answer's `X-Request-Id`, which the server's log has too.")
    address: str = Field(
        description="Where it came from: a proxy's address where one stands before the server."
    )


class NewProject(Given):
    """A project that is to be made."""

    name: ProjectName
    description: str = Field("", max_length=1000)


class MemberView(_View):
    """Who works in a project."""

    name: str
    role: str


class ProjectView(_View):
    """A project: what is made in it is seen by those who work in it."""

    name: str
    description: str
    created_by: str
    created_at: dt.datetime
    members: list[MemberView] = Field(
        description="Whose keys name it, with the most that one of them may; not those who work in every project."
    )
