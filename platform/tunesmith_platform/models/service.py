"""The registry of base models. What lies in the models folder is found by itself; other folders are registered.

A model's files are read once and what they say is kept; whenever a file's size or time of change differs, they are
read again. `fingerprints` reads the weights; here only config, tokenizer and headers are.
"""

import logging
import os
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.errors import Conflict, ErrorBody, Forbidden, InvalidModel
from tunesmith.fingerprint import Stamp
from tunesmith.lifecycle import State
from tunesmith.model_folder import ModelFacts, hub_id, hub_revision, license_text
from tunesmith.model_views import ModelState, ModelUse, ModelView
from tunesmith.spec.given import Given
from tunesmith_platform.caller import looking
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.scoping import sees
from tunesmith_platform.db.tables import ModelRow
from tunesmith_platform.models import repository
from tunesmith_platform.models.fingerprints import Fingerprints, known_stamps, stamps_of
from tunesmith_platform.models.folders import Look, look_at, named_folder
from tunesmith_platform.sandbox.library import compare_ids
from tunesmith_platform.scope import INSTALLATION, PLATFORM, Scope
from tunesmith_platform.settings import Settings

logger = logging.getLogger(__name__)

_SHOWN_TASKS = 20
ModelName = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=120,
        strip_whitespace=True,
        pattern=r"^[^\x00-\x1f/\\.:][^\x00-\x1f/\\:]*$",
    ),
]


class NewModel(Given):
    """A model to register."""

    source: str = Field(
        min_length=1,
        max_length=4000,
        description="A folder by its absolute path, inside an allowed root; or the hub id of a model that was pulled.",
    )
    name: ModelName | None = Field(
        None, description="What tasks may call it by; its folder's name when none is given."
    )


class ModelChange(Given):
    """What of a model may be changed."""

    name: ModelName


class _Asked(NamedTuple):
    """A folder, and whose models were looked at for it."""

    owners: frozenset[str] | None
    projects: frozenset[str] | None
    folder: Path


class SeenModels(NamedTuple):
    """The registry as a scope sees it."""

    registry: "ModelService"
    scope: Scope

    def find(self, name: str) -> Path | None:
        """See `ModelService.find`."""
        return self.registry.find(self.scope, name)

    def sha256(self, folder: Path) -> str | None:
        """See `ModelService.sha256`."""
        return self.registry.sha256(self.scope, folder)


class ModelService:
    """Base models: list, show, register, check, rename, forget. Never deletes a file."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._fingerprints = Fingerprints(database)
        self._answered: dict[_Asked, tuple[dict[str, Stamp], str]] = {}

    def page(self, scope: Scope) -> views.Page[ModelView]:
        """Every model by name, those in the models folder included."""
        self._find_new()
        with self._database.read() as session:
            rows = repository.every(session, scope)
            counts = repository.count_tasks(session, scope)
        data = []
        for found in rows:
            row = self._fresh(scope, found, at_once=0)
            data.append(self._view(row).model_copy(update={"task_count": counts.get(row.path, 0)}))
        return views.Page(data=data, has_more=False)

    def get(self, scope: Scope, model: str) -> ModelView:
        """A model by its id or name, with its license and the tasks that start from it."""
        self._find_new()
        with self._database.read() as session:
            row = repository.require(session, scope, model)
        return self._detailed(scope, self._fresh(scope, row))

    def register(self, scope: Scope, new: NewModel) -> tuple[ModelView, bool]:
        """Register a folder, or a pulled model by its hub id; the same one again is found, not made twice.

        Returns:
            The model, and whether it was registered now.

        Raises:
            InvalidModel: It cannot be trained, or is not here; says what to do.
            PathNotAllowed: It lies outside the allowed roots.
            Conflict: Another model has the name, or the model has another name already.
        """
        folder, from_hub = named_folder(new.source, self._settings)
        look = look_at(folder, self._settings)
        if look.problem is not None:
            raise InvalidModel(
                look.problem.message,
                hint=look.problem.hint,
                problems=[problem.under("source", ": ") for problem in look.problem.problems],
            )
        self._find_new()
        row, made = self._store(scope, folder, look, name=new.name, from_hub=from_hub)
        return self._detailed(scope, self._fresh(scope, row)), made

    def check(self, scope: Scope, model: str) -> ModelView:
        """Read all files of a model again, whether they seem changed or not, and compare its ids with the library's."""
        with self._database.read() as session:
            found = repository.require(session, scope, model)
        look = look_at(Path(found.path), self._settings, is_fresh=True)
        if look.facts is not None and (compared := compare_ids(Path(found.path))) is not None:
            words = f"{compared.words} {compared.cure}".strip()
            look = look._replace(facts=look.facts.model_copy(update={"other_ids": words}))
        with self._database.write() as session:
            row = repository.require(session, scope, found.id)
            row.sums = {}
            _note(row, look)
        return self._detailed(scope, self._fresh(scope, row))

    def rename(self, scope: Scope, model: str, change: ModelChange) -> ModelView:
        """Give a model another name. Tasks keep the folder they were given.

        Raises:
            Conflict: Another model has the name.
            Forbidden: It is everybody's.
        """

        def rename(session: Session) -> ModelRow:
            row = _changeable(repository.require(session, scope, model), scope)
            other = repository.by_name(session, scope.everything(), change.name)
            if other is not None and other.id != row.id:
                raise _name_is_taken(change.name)
            row.name = change.name
            return row

        return self._detailed(scope, self._fresh(scope, self._database.retry_on_conflict(rename)))

    def forget(self, scope: Scope, model: str) -> None:
        """Take a model from the registry; its files stay.

        Raises:
            Conflict: It lies in the models folder, where it would be found again.
            Forbidden: It is everybody's.
        """
        with self._database.write() as session:
            row = _changeable(repository.require(session, scope, model), scope)
            if self._is_found(row.path) and Path(row.path).is_dir():
                raise Conflict(
                    f"`{row.name}` lies in the models folder, where every model is found by itself.",
                    hint=f"Tunesmith deletes no model's files: delete or move `{row.path}` yourself, then remove it "
                    "here.",
                )
            session.delete(row)
        for asked in [one for one in self._answered if one.folder == Path(row.path)]:
            self._answered.pop(asked, None)

    # --- what submits ask

    def seen_by(self, scope: Scope) -> "SeenModels":
        """The registry as a scope sees it, for those who look for folders and know nothing of scopes."""
        return SeenModels(self, scope)

    def find(self, scope: Scope, name: str) -> Path | None:
        """The folder of the model with a name or a hub id; None when there is none."""
        if "\x00" in name:
            return None
        with self._database.read() as session:
            row = repository.by_name(session, scope, name) or repository.by_hub_id(session, scope, name)
        return Path(row.path) if row else None

    @looking()
    def sha256(self, scope: Scope, folder: Path) -> str | None:
        """The fingerprint of a model's files as they are now; None while large ones are being read.

        A folder that is not registered is entered, so that its files are read once and not for every task; but what a
        task made is no base model of the registry, and what another registered is read as it lies there.
        """
        asked = _Asked(scope.owners, scope.projects, folder)
        answered = self._answered.get(asked)
        if answered is not None and answered[0] == stamps_of(folder):
            return answered[1]  # a thousand tasks of one model ask the database once
        with self._database.read() as session:
            row = repository.by_path(session, scope, str(folder))
            is_others = repository.by_path(session, scope.everything(), str(folder)) is not row
        if is_others or (
            row is None and not any(folder.is_relative_to(root) for root in self._settings.roots())
        ):
            return self._fingerprints.of_result(folder)
        if row is None:
            row, _ = self._store(scope, folder, look_at(folder, self._settings))
        row = self._fresh(scope, row)
        if row.sha256 is not None:
            self._answered[asked] = known_stamps(row), row.sha256
        return row.sha256

    def resume(self) -> None:
        """Go on with what was being read when a process ended."""
        self._fingerprints.resume()

    def close(self) -> None:
        """End the background reader once it has read what it is reading."""
        self._fingerprints.close()

    # --- looking

    def _find_new(self) -> None:
        """Enter the folders of the models folder that are not registered yet; they are the platform's own."""
        try:
            folders = [Path(entry.path) for entry in os.scandir(self._settings.models_dir) if entry.is_dir()]
        except OSError:
            return
        with self._database.read() as session:
            known = {row.path for row in repository.every(session, INSTALLATION)}
        for folder in sorted(folders):
            real = Path(os.path.realpath(folder))
            if not folder.name.startswith(".") and str(real) not in known:
                self._store(INSTALLATION, real, look_at(real, self._settings))

    def _store(
        self, scope: Scope, folder: Path, look: Look, name: str | None = None, from_hub: str | None = None
    ) -> tuple[ModelRow, bool]:
        """The row of a folder, made when there is none.

        Raises:
            Conflict: Another model has the wanted name, or the folder has another one.
        """
        of_hub = hub_id(folder) or from_hub

        def store(session: Session) -> tuple[ModelRow, bool]:
            row = repository.by_path(session, scope.everything(), str(folder))
            if row is not None and not sees(session, scope, row):
                raise Conflict(
                    f"`{folder}` is registered by another user.",
                    hint="Ask an administrator to share the model.",
                )
            if row is not None:
                if name not in (None, row.name):
                    raise Conflict(
                        f"`{folder}` is registered as `{row.name}` already.",
                        hint=f"Rename it: `tunesmith models rename {row.name} {name}`.",
                    )
                return row, False
            if name is not None and repository.by_name(session, scope.everything(), name) is not None:
                raise _name_is_taken(name)
            row = ModelRow(
                **scope.stamp(),
                id=new_id("model"),
                name=name or repository.free_name(session, scope, folder.name or "model"),
                hub_id=of_hub,
                path=str(folder),
                sums={},
                created_at=now(),
            )
            _note(row, look)
            session.add(row)
            return row, True

        return self._database.retry_on_conflict(store)

    @looking()
    def _fresh(self, scope: Scope, row: ModelRow, at_once: int | None = None) -> ModelRow:
        """A model's row as its files are now; only what has changed is read.

        Args:
            row: As it was stored.
            at_once: Bytes that may be read for the fingerprint before answering; more is read in the background.
        """
        folder = Path(row.path)
        here = stamps_of(folder)
        if here is None:
            return row
        if here != known_stamps(row):
            look = look_at(folder, self._settings)
            with self._database.write() as session:
                row = repository.require(session, scope, row.id)
                _note(row, look)
        if row.facts is not None and row.sha256 is None:
            return self._fingerprints.complete(row, here, at_once)
        return row

    # --- showing

    def _is_found(self, path: str) -> bool:
        return Path(path).parent == Path(os.path.realpath(self._settings.models_dir))

    def _view(self, row: ModelRow) -> ModelView:
        problem = ErrorBody.model_validate(row.problem) if row.problem else None
        state = ModelState.REFUSED if problem else ModelState.READY
        if not Path(row.path).is_dir():
            state = ModelState.MISSING
            problem = InvalidModel(
                f"`{row.path}` is not there any more.",
                hint=f"Bring the folder back, or forget it: `tunesmith models remove {row.name}`.",
            ).body()
        is_ready = state is ModelState.READY
        return ModelView(
            id=row.id,
            name=row.name,
            state=state,
            hub_id=row.hub_id,
            revision=hub_revision(Path(row.path)),
            path=row.path,
            is_found=self._is_found(row.path),
            facts=ModelFacts.model_validate(row.facts) if row.facts and is_ready else None,
            problem=problem,
            sha256=row.sha256 if is_ready else None,
            disk_bytes=sum(size for size, _ in row.stamps.values()),
            created_at=row.created_at,
            checked_at=row.checked_at,
        )

    def _detailed(self, scope: Scope, row: ModelRow) -> ModelView:
        view = self._view(row)
        with self._database.read() as session:
            count = repository.count_tasks_of(session, scope, row.path)
            tasks = repository.tasks_of(session, scope, row.path, _SHOWN_TASKS)
        uses = [ModelUse(id=task.id, name=task.name, state=State(task.state)) for task in tasks]
        text = license_text(Path(row.path)) if view.state is ModelState.READY else None
        return view.model_copy(update={"task_count": count, "tasks": uses, "license_text": text})


def _note(row: ModelRow, look: Look) -> None:
    """Put what a look found into a row; the fingerprint is another matter and unknown from now."""
    row.facts = look.facts.model_dump(mode="json") if look.facts else None
    row.problem = look.problem.model_dump(mode="json") if look.problem else None
    row.stamps = {name: list(stamp) for name, stamp in look.stamps.items()}
    row.sha256 = None
    row.checked_at = now()


def _name_is_taken(name: str) -> Conflict:
    return Conflict(
        f"Another model is named `{name}`.", hint="Choose another name, or rename that one first."
    )


def _changeable(row: ModelRow, scope: Scope) -> ModelRow:
    """A model that the scope may rename and forget.

    Raises:
        Forbidden: It was found for everybody.
    """
    if row.owner == PLATFORM and not scope.is_whole:
        raise Forbidden(
            f"Model `{row.name}` is everybody's.",
            hint="Ask somebody who works in every project to change it.",
        )
    return row
