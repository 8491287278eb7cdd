"""Keys, projects and the audit log, from Python: `client.keys`, `client.projects`, `client.audit`. No HTTP."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from tunesmith.access import AuditEntry, KeyView, MadeKey, ProjectView, Role
from tunesmith.client.calls import Calls, path_of


class KeyCalls(Calls):
    """`client.keys`: who may come in. Others' keys are an administrator's matter."""

    def make(
        self,
        name: str | None = None,
        *,
        role: Role | str = Role.MEMBER,
        projects: Sequence[str] | None = None,
        all_projects: bool = False,
        expires_at: dt.datetime | None = None,
    ) -> MadeKey:
        """Make a key.

        Args:
            name: Whose it is; your own when None.
            role: `viewer` reads, `member` works, `admin` does all.
            projects: Where it works; `default`, or where yours works, when None.
            all_projects: Whether it works in every project.
            expires_at: When it ends by itself, with its zone; never when None.

        Returns:
            The key with its secret, which is shown here alone.

        Raises:
            Forbidden: It would be another's, or may more than yours.
        """
        body: dict[str, Any] = {"role": str(role), "all_projects": all_projects}
        if name is not None:
            body["name"] = name
        if projects is not None:
            body["projects"] = list(projects)
        if expires_at is not None:
            body["expires_at"] = expires_at.isoformat()
        return self._view(MadeKey, self._transport.call("POST", "/v1/keys", body=body, repeats=False))

    def list(self) -> Iterator[KeyView]:
        """Keys, the newest first: everybody's for an administrator, else your own."""
        return self._pages(KeyView, "/v1/keys", 500)

    def revoke(self, key_id: str) -> KeyView:
        """Let a key count no more, with the browsers that are signed in with it.

        Raises:
            NotFound: There is none with this id, or it is another's.
            Conflict: It is the last of an administrator.
        """
        path = path_of("/v1/keys", key_id, what="A key's id", shown_by="tunesmith keys list")
        return self._view(KeyView, self._transport.call("DELETE", path))


class AuditCalls(Calls):
    """`client.audit`: who did what to what. For administrators."""

    def list(
        self,
        *,
        who: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """What was changed, the newest first, page by page as it is read.

        Args:
            who: Only what this name did.
            action: Only this operation, such as `stop_task`.
            subject: Only what was done to this.
            since: Only from this time on, with its zone.
            until: Only before this time, with its zone.

        Raises:
            Forbidden: The key is no administrator's.
        """
        times = {"since": since, "until": until}
        query = {name: moment.isoformat() for name, moment in times.items() if moment is not None}
        return self._pages(
            AuditEntry, "/v1/audit", 1000, {"who": who, "action": action, "subject": subject} | query
        )


class ProjectCalls(Calls):
    """`client.projects`: what is kept apart, and who works where. Changes need an administrator's key."""

    def make(self, name: str, *, description: str = "") -> ProjectView:
        """Make a project.

        Raises:
            Conflict: There is one with this name.
        """
        body = {"name": name, "description": description}
        return self._view(ProjectView, self._transport.call("POST", "/v1/projects", body=body, repeats=False))

    def list(self) -> Iterator[ProjectView]:
        """The projects that you work in, by name, with who else does."""
        return self._pages(ProjectView, "/v1/projects", 500)

    def show(self, name: str) -> ProjectView:
        """A project and who works in it.

        Raises:
            NotFound: There is none, or you do not work in it.
        """
        return self._get(ProjectView, _project(name))

    def add(self, project: str, name: str) -> ProjectView:
        """Let the keys of a name work in a project too.

        Raises:
            NotFound: There is no such project, or nobody of this name has a key that counts.
        """
        return self._view(ProjectView, self._transport.call("PUT", _member(project, name)))

    def remove(self, project: str, name: str) -> ProjectView:
        """Let the keys of a name work in a project no more; what they made there stays.

        Raises:
            NotFound: There is no such project, or nobody of this name has a key that counts.
        """
        return self._view(ProjectView, self._transport.call("DELETE", _member(project, name)))


def _project(name: str) -> str:
    return path_of("/v1/projects", name, what="A project's name", shown_by="tunesmith projects list")


def _member(project: str, name: str) -> str:
    return path_of(f"{_project(project)}/members", name, what="A name", shown_by="tunesmith keys list")
