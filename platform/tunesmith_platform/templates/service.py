"""What users do with templates, and how a new task takes up the one it names.

Knows parameters and rows; a task's are read from its record, never changed.
"""

from sqlalchemy.orm import Session

from tunesmith import templates as contract
from tunesmith.errors import Conflict, InvalidInput, NotFound
from tunesmith.spec.base import Notice
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.spec.task import NewTask, TaskRequest
from tunesmith.templates import NewTemplate, Template, TemplateChange, TemplateView
from tunesmith.views import Page
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TemplateRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.templates import repository
from tunesmith_platform.templates.builtin import builtin_named, builtins

_ANY_NAME = "template"
"""Stands where only parameters are checked: what a path names need not be a name."""


class TemplateService:
    """Templates: save, list, show, change, delete."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, scope: Scope, after: str | None, limit: int) -> Page[TemplateView]:
        """The built-in templates, then the users' by name; `after` is the name of the last one already read."""
        own = list(builtins().values())
        names = [view.name for view in own]
        first = own if after is None else own[names.index(after) + 1 :] if after in names else []
        found = first[: limit + 1]
        with self._database.read() as session:
            rows = repository.find(
                session, scope, None if first or after in names else after, limit + 1 - len(found)
            )
        found += [_view(row) for row in rows]
        return Page.of(found, limit, lambda template: template.name)

    def get(self, scope: Scope, name: str) -> TemplateView:
        """A template.

        Raises:
            NotFound: There is none of this name.
        """
        if name in builtins():
            return builtins()[name]
        with self._database.read() as session:
            found = repository.by_name(session, scope, name)
            alike = builtin_named(name) if found is None else None
            return alike or _view(found or _require(session, scope, name))

    def save(self, scope: Scope, new: NewTemplate) -> TemplateView:
        """Save a template from parameters, or from a task's.

        Raises:
            InvalidInput: The parameters are not those of a task, or exclude each other.
            Conflict: Its name is taken.
        """
        if new.from_task is not None:
            with self._database.read() as session:
                source = tasks.supporting(tasks.require(session, scope, new.from_task), Feature.CLONE)
            under = contract.as_template(source.spec, source.kind, with_places=new.with_places)
            parameters = kind_of(source.kind).spec.merged(under, new.parameters)
            new = new.model_copy(update={"kind": source.kind, "parameters": parameters})
        elif new.with_places:
            raise InvalidInput("`with_places` goes with `from_task`.", field="with_places")
        parameters, notices = _checked(new)
        _refuse_builtin_name(new.name)
        moment = now()
        row = TemplateRow(
            **scope.stamp(),
            id=new_id("template"),
            name=new.name,
            kind=new.kind,
            description=new.description,
            description_zh=new.description_zh,
            hides=list(new.hides),
            parameters=parameters,
            created_at=moment,
            updated_at=moment,
        )
        with self._database.write() as session:
            repository.put(session, scope, row)
            return _view(row, notices)

    def change(self, scope: Scope, name: str, change: TemplateChange) -> TemplateView:
        """Rename a template, or change what it holds. Tasks made from it keep what they have.

        Raises:
            NotFound: There is none of this name.
            Conflict: It is built in, or the new name is taken.
        """
        _refuse_builtin(name)
        notices: list[Notice] = []
        updates = change.model_dump(mode="json", exclude_none=True)
        if change.parameters is not None:
            updates["parameters"], notices = _checked(
                Template(name=_ANY_NAME, kind=self.get(scope, name).kind, parameters=change.parameters)
            )
        if change.name is not None:
            _refuse_builtin_name(change.name)
        with self._database.write() as session:
            row = _require(session, scope, name)
            for field, value in updates.items():
                setattr(row, field, value)
            row.updated_at = now()
            repository.put(session, scope, row)
            return _view(row, notices)

    def delete(self, scope: Scope, name: str) -> None:
        """Delete a template. Tasks made from it keep what they have.

        Raises:
            NotFound: There is none of this name.
            Conflict: It is built in.
        """
        _refuse_builtin(name)
        with self._database.write() as session:
            session.delete(_require(session, scope, name))

    def complete(self, scope: Scope, request: TaskRequest) -> NewTask:
        """A new task with the parameters of the template it names under its own.

        Raises:
            NotFound: There is no such template.
            InvalidInput: Together they are not the parameters of a task.
        """
        if request.template is None:
            return request.complete(request.spec)
        template = self.get(scope, request.template)
        if template.kind != request.kind:
            raise InvalidInput(
                f"The template `{template.name}` is for tasks of kind `{template.kind}`, not `{request.kind}`.",
                hint="Take another one, or leave `template` out.",
                field="template",
            )
        return request.complete(kind_of(request.kind).spec.merged(template.parameters, request.spec))


def _checked(template: Template) -> tuple[dict[str, object], list[Notice]]:
    try:
        return contract.check_parameters(template.parameters, template.kind)
    except InvalidInput as error:
        error.problems = [problem.under("parameters") for problem in error.problems]
        raise


def _require(session: Session, scope: Scope, name: str) -> TemplateRow:
    row = repository.by_name(session, scope, name)
    if row is None:
        raise NotFound(f"There is no template `{name}`.", hint="`tunesmith templates list` shows them.")
    return row


def _refuse_builtin(name: str) -> None:
    if name in builtins():
        raise Conflict(
            f"The template `{name}` came with the platform and stays as it is.",
            hint="Save what you want to change as a new template.",
        )


def _refuse_builtin_name(name: str) -> None:
    if name in builtins():
        raise Conflict(
            f"`{name}` is the name of a template that came with the platform.", hint="Choose another name."
        )


def _view(row: TemplateRow, notices: list[Notice] | None = None) -> TemplateView:
    return TemplateView.model_validate(
        {
            "name": row.name,
            "kind": row.kind,
            "description": row.description,
            "description_zh": row.description_zh,
            "hides": row.hides,
            "parameters": row.parameters,
            "notices": notices or [],
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }
    )
