"""Whose data a call may see and change, and whose what it makes is. Imports nothing of the platform."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from tunesmith.errors import Forbidden

DEFAULT_PROJECT = "default"
"""Where what is made without a project belongs."""
PLATFORM = "platform"
"""Whose that is which nobody asked for: the platform's own."""


class Owned(Protocol):
    """A row that says whose it is."""

    owner: Any
    project: Any


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows a caller sees and changes; every query of the platform asks for it, so that none can forget it.

    Attributes:
        owner: Whose what it makes is: the name of a key, or `INSTALLATION`'s.
        project: Where what it makes belongs, unless a request names another.
        owners: Whose rows it sees; everybody's when None.
        projects: The projects whose rows it sees; all when None.
    """

    owner: str
    project: str = DEFAULT_PROJECT
    owners: frozenset[str] | None = None
    projects: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """A scope sees what it makes."""
        assert self.sees(self.owner, self.project), "it would lose sight of what it makes"

    @property
    def is_whole(self) -> bool:
        """Whether it sees all that there is: its queries are then as if there were no scopes."""
        return self.owners is None and self.projects is None

    def sees(self, owner: str, project: str) -> bool:
        """Whether a row of this owner and project may be seen and changed."""
        return (self.owners is None or owner in self.owners) and self.sees_project(project)

    def sees_project(self, project: str) -> bool:
        """Whether what belongs to a project as a whole may be seen and changed."""
        return self.projects is None or project in self.projects

    def stamp(self, project: str | None = None) -> dict[str, str]:
        """The columns that say whose a new row is.

        Args:
            project: The one that was asked for; the scope's own when None.

        Raises:
            Forbidden: It is none of the scope's.
        """
        wanted = self.project if project is None else project
        if not self.sees_project(wanted):
            raise Forbidden(
                f"You may not work in project `{wanted}`.",
                hint="Name a project of yours.",
            )
        return {"owner": self.owner, "project": wanted}

    def within(self, project: str | None = None) -> "Scope":
        """The same caller in one project alone: what `acting_for` sees of what is made there.

        Args:
            project: The one that was asked for; the scope's own when None.

        Raises:
            Forbidden: It is none of the scope's.
        """
        only = self.stamp(project)["project"]
        return replace(self, project=only, projects=frozenset([only]))

    def own(self) -> "Scope":
        """The same caller, who sees only what is its own."""
        return replace(self, owners=frozenset([self.owner]))

    def everything(self) -> "Scope":
        """The same caller, for what is asked on behalf of all: whether a name, a file or the cluster is in use.

        What is found so must not be shown.
        """
        return replace(self, owners=None, projects=None)

    @classmethod
    def acting_for(cls, row: Owned) -> "Scope":
        """The scope of a loop that goes on with what a row's owner has begun; what it makes is that owner's.

        It sees the row's project alone: a name that is looked up later than its owner asked reaches into no other.
        """
        return cls(owner=row.owner, project=row.project, projects=frozenset([row.project]))

    @classmethod
    def of_administrator(cls, row: Owned) -> "Scope":
        """The scope of a loop that goes on with what administrators alone make: they work in every project."""
        return cls(owner=row.owner, project=row.project)


INSTALLATION = Scope(owner=PLATFORM)
"""The platform's own loops, and jobs whose token was looked at: they look after everybody's tasks."""
