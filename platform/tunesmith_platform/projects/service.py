"""Projects: made, listed, and who works in them, which is said by their keys. Knows no HTTP."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.access import MemberView, NewProject, ProjectView, Role
from tunesmith.errors import Conflict, NotFound
from tunesmith_platform.auth import Keys
from tunesmith_platform.clock import note_made, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ApiKeyRow, ProjectRow
from tunesmith_platform.keys import repository as keys_repository
from tunesmith_platform.projects import repository
from tunesmith_platform.scope import Scope


class ProjectService:
    """Projects. Each method is one transaction.

    Args:
        database: Holds them.
        keys: Whose key is whose, as it was looked up a moment ago.
    """

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    def page(self, scope: Scope, after: str | None, limit: int) -> views.Page[ProjectView]:
        """The projects by name, with their members."""
        with self._database.read() as session:
            rows = repository.page(session, scope, after, limit)
            counting = keys_repository.counting(session, now())
        return views.Page.of([_view(row, counting) for row in rows], limit, lambda project: project.name)

    def get(self, scope: Scope, name: str) -> ProjectView:
        """A project with its members.

        Raises:
            NotFound: There is none.
        """
        with self._database.read() as session:
            row = repository.find(session, scope, name)
            counting = keys_repository.counting(session, now())
        if row is None:
            raise _unknown(name)
        return _view(row, counting)

    def make(self, scope: Scope, new: NewProject) -> ProjectView:
        """A new project.

        Raises:
            Conflict: There is one with this name.
        """

        def store(session: Session) -> ProjectRow:
            if repository.find(session, scope, new.name) is not None:
                raise Conflict(
                    f"There is a project `{new.name}` already.", hint="Use it, or take another name."
                )
            row = ProjectRow(
                project=new.name, description=new.description, created_by=scope.owner, created_at=now()
            )
            session.add(row)
            note_made(new.name)
            return row

        return _view(self._database.retry_on_conflict(store), ())

    def add(self, scope: Scope, project: str, name: str) -> ProjectView:
        """Let a person's keys work in a project too.

        Raises:
            NotFound: There is no such project, or nobody of this name has a key that counts.
        """
        return self._change(scope, project, name, is_in=True)

    def remove(self, scope: Scope, project: str, name: str) -> ProjectView:
        """Let a person's keys work in a project no more; what they made there stays.

        Raises:
            NotFound: There is no such project, or nobody of this name has a key that counts.
        """
        return self._change(scope, project, name, is_in=False)

    def _change(self, scope: Scope, project: str, name: str, *, is_in: bool) -> ProjectView:
        with self._database.write() as session:
            row = repository.find(session, scope, project)
            if row is None:
                raise _unknown(project)
            own = keys_repository.counting(session, now(), name)
            if not own:
                raise NotFound(
                    f"Nobody named `{name}` has a key that counts.", hint="`tunesmith keys list` shows them."
                )
            for key in own:
                if key.projects is not None:  # else it works everywhere
                    others = [one for one in key.projects if one != project]
                    key.projects = sorted([*others, project]) if is_in else others
            session.flush()
            counting = keys_repository.counting(session, now())
        for key in own:
            self._keys.forget(key.sha256)
        return _view(row, counting)


def _view(row: ProjectRow, keys: Sequence[ApiKeyRow]) -> ProjectView:
    most: dict[str, Role] = {}
    for key in keys:
        if key.projects is not None and row.project in key.projects:
            most[key.name] = max(
                most.get(key.name, Role.VIEWER), Role.stored(key.role), key=lambda role: role.rank
            )
    return ProjectView(
        name=row.project,
        description=row.description,
        created_by=row.created_by,
        created_at=row.created_at,
        members=[MemberView(name=name, role=role) for name, role in sorted(most.items())],
    )


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no project `{name}`.", hint="`tunesmith projects list` shows them.")
