"""Two users' rows in one database: under a narrow scope every function on rows does as if the other's were not there.

What a function should answer is told by a database that has one user's rows alone; so nothing is said here of what any
of them does. A new function has its arguments found by their names, or is named here.
"""

import copy
import datetime as dt
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from conftest_platform import Plane
from sqlalchemy import RowMapping, delete, event, select, text
from sqlalchemy import inspect as facts_of
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError
from two_users import MOMENT, NUMBERS, rows_of
from two_users_given import arguments

import tunesmith_platform
from tunesmith.errors import Forbidden, TunesmithError
from tunesmith_platform.db import schema
from tunesmith_platform.db import tables as t
from tunesmith_platform.db.schema import MIGRATIONS
from tunesmith_platform.db.scoping import OF_THE_INSTALLATION, OutOfScope, within
from tunesmith_platform.db.tables import Base
from tunesmith_platform.scope import INSTALLATION, Scope

PACKAGE = Path(tunesmith_platform.__file__).parent
LOOKS_AT_ALL = {
    "datasets.is_copied": "Bytes that anybody has in our storage are kept.",
    "datasets.is_shared": "Bytes that another's version has too are not removed.",
    "datasets.live_task_reading": "A file that anybody reads is not removed.",
    "models.free_name": "Names of models are unique in the installation.",
    "packaging.in_use": "Files that anybody's task reads are not removed.",
    "pipelines.users_of": "Rows that anybody reads are not removed.",
    "tasks.queue_place": "The room is everybody's: others that come first count too.",
    "tasks.refuse_needed_files": "Files that anybody's task was built on are not removed.",
    "tasks.refuse_shared_output": "Nobody's task writes into another's files.",
}
"""Functions that protect what is everybody's, and so look at everybody's rows; why. They name nobody's."""
ALWAYS_ITS_OWN = {
    "chats.files": "What was packaged answers to whoever packaged it.",
    "tasks.packaged_at": "What was packaged answers to whoever packaged it.",
    "chats.find": "A base model is served to each user by a task of its own.",
    "chats.own_proofs": "What answers is proven to each user by tasks of its own.",
    "chats.proof": "What answers is proven to each user by tasks of its own.",
    "chats.proofs_of": "What answers is proven to each user by tasks of its own.",
    "quota.by_key": "Keys are the caller's own.",
}
"""Functions that answer of the caller's own alone, whatever it sees; why."""
OF_NOBODY = {"access", "audit", "bounds", "keys", "runners"}


@dataclass(frozen=True)
class Tried:
    """A function, and what of its arguments are rows."""

    name: str
    call: Callable[..., Any]
    arguments: Mapping[str, Any]

    @property
    def rows(self) -> list[str]:
        """The arguments that are rows which somebody has found before."""
        return [name for name, value in self.arguments.items() if isinstance(value, type)]


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function on rows, as `noun.name`."""
    for file in sorted((*PACKAGE.glob("*/repository.py"), *PACKAGE.glob("*/ledger.py"))):
        noun = file.parent.name.replace("event_log", "events")
        module = importlib.import_module(f"tunesmith_platform.{file.parent.name}.{file.stem}")
        for name, function in vars(module).items():
            is_own = inspect.isfunction(function) and function.__module__ == module.__name__
            is_asked = is_own and not name.startswith("_") and noun not in OF_NOBODY
            if is_asked and "session" in inspect.signature(function).parameters:
                yield f"{noun}.{name}", function


def tried(who: str) -> list[Tried]:
    """The functions with what they are given of a user's."""
    known = arguments(who)
    found = []
    for name, function in functions():
        own = known[""] | known.get(name, {})
        wanted = inspect.signature(function).parameters
        unknown = [
            parameter.name
            for parameter in wanted.values()
            if parameter.name not in own
            and parameter.default is parameter.empty
            and parameter.kind is not parameter.VAR_POSITIONAL
            and parameter.name not in ("session", "scope")
        ]
        assert not unknown, f"what is `{name}` to be given as {unknown}?"
        given = {one: own[one] for one in wanted if one in own and one not in ("session", "scope", "options")}
        found.append(Tried(name, function, given))
    return found


class World:
    """A database with some users' rows, in a transaction that ends with the test."""

    def __init__(self, session: Session, users: str) -> None:
        self._session = session
        session.execute(delete(t.ProjectRow))  # the one that the migrations make
        for who in users:
            for row in rows_of(who, NUMBERS[who]):
                session.add(row)
                session.flush()
        session.expunge_all()
        self._is_changed = False
        event.listen(session.connection(), "before_cursor_execute", self._note)
        self._first = self._read()

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._is_changed |= statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))

    def outcome(self, what: Tried, scope: Scope, who: str) -> tuple[Any, list[str], list[str]]:
        """What a function answers, and A's and B's rows afterwards; all is as it was again when this ends."""
        self._is_changed = False
        session = self._session
        step = session.begin_nested()
        try:
            given = {
                name: self._row(value, who) if name in what.rows else copy.deepcopy(value)
                for name, value in what.arguments.items()
            }
            positional = [
                given.pop(one.name)
                for one in inspect.signature(what.call).parameters.values()
                if one.kind is one.POSITIONAL_OR_KEYWORD and one.name in given
            ]
            found = what.call(session, scope, *positional, **given)
            answer = plain(list(found) if isinstance(found, Iterator) else found)
            session.flush()
        except (TunesmithError, OutOfScope, IntegrityError, StaleDataError) as error:
            said = str(error) if isinstance(error, TunesmithError) else ""
            answer = (type(error).__name__, said)
        # What a failed statement did is gone with the transaction that it was in.
        is_failed = isinstance(answer, tuple) and answer[0] in ("IntegrityError", "StaleDataError")
        after = self._read() if self._is_changed and not is_failed else self._first
        step.rollback()
        session.expunge_all()
        return answer, *([text for text in after if is_of(text, other)] for other in ("a", "b"))

    def first(self, who: str) -> list[str]:
        """A user's rows as they were."""
        return [text for text in self._first if is_of(text, who)]

    def _row(self, kind: type[Base], who: str) -> Any:
        named = next(row for row in rows_of(who, NUMBERS[who]) if type(row) is kind)
        return self._session.get_one(kind, facts_of(kind).primary_key_from_instance(named))

    def _read(self) -> list[str]:
        self._session.flush()
        found = []
        for table in Base.metadata.sorted_tables:
            if table.name not in OF_THE_INSTALLATION:
                for row in self._session.connection().execute(select(table)).mappings():
                    shown = {key: plain(value) for key, value in row.items()}
                    if table.name in ("quota_entries", "deliveries"):
                        shown.pop("id")
                    found.append(f"{table.name} {shown}")
        return sorted(found)


def is_of(text: str, who: str) -> bool:
    """Whether a row as text names a user."""
    return f"-{who}" in text or f"/{who}'" in text


def plain(value: Any) -> Any:
    """What can be compared: rows by their columns, moments that are not those of the test as one."""
    if isinstance(value, Base):
        shown = {column.key: plain(getattr(value, column.key)) for column in facts_of(type(value)).columns}
        is_counted = isinstance(shown.get("id"), int) and shown["id"] not in NUMBERS.values()
        return shown | ({"id": "the next"} if is_counted else {})
    if isinstance(value, RowMapping | Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return moment.isoformat() if abs(moment - MOMENT) < dt.timedelta(days=5) else "now"
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, tuple | list | set | frozenset):
        return sorted((plain(inner) for inner in value), key=repr)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


@pytest.mark.parametrize("bound", ["owner", "project"])
def test_a_narrow_scope_sees_and_changes_its_own_alone(plane: Plane, bound: str) -> None:
    everything = Scope(owner="a", project="project-a")
    narrow = Scope(
        owner="a",
        project="project-a",
        owners=frozenset("a") if bound == "owner" else None,
        projects=frozenset(["project-a"]) if bound == "project" else None,
    )
    mine, others = tried("a"), tried("b")
    alone: dict[str, list[Any]] = {}
    with plane.services.database.write() as session:
        world = World(session, "a")
        for of_a, of_b in zip(mine, others, strict=True):
            asked = [(of_a, "a")] if of_a.rows else [(of_a, "a"), (of_b, "b")]
            alone[of_a.name] = [world.outcome(one, everything, who) for one, who in asked]
        session.rollback()
    wrong, dull, looked = [], [], set()
    with plane.services.database.write() as session:
        world = World(session, "ab")
        for of_a, of_b in zip(mine, others, strict=True):
            name = of_a.name
            if bound == "owner" and name.startswith(("projects.", "quota.")) and "task" not in of_a.rows:
                continue  # a project and its quota are nobody's own: see `OF_A_PROJECT`
            looked.add(name)
            told = [world.outcome(of_a, everything, "a"), world.outcome(of_b, everything, "b")]
            seen = [world.outcome(of_a, narrow, "a"), world.outcome(of_b, narrow, "b")]
            if any(rows != world.first("b") for _, _, rows in seen):
                wrong.append(f"{name} changes another's rows")
            if name in LOOKS_AT_ALL:
                known = slice(1 if of_a.rows else 2)
                if [kind(answer) for answer, _, _ in seen[known]] != [
                    kind(answer) for answer, _, _ in told[known]
                ]:
                    wrong.append(f"{name} answers {[one[0] for one in seen]}, not {[one[0] for one in told]}")
                continue
            if seen[0][:2] != alone[name][0][:2]:
                wrong.append(f"{name} answers {seen[0][0]}, alone {alone[name][0][0]}")
            if not is_as_without(seen[1], None if of_b.rows else alone[name][1]):
                wrong.append(f"{name} answers {seen[1][0]} of another's")
            # Of rows that are handed in, only what a narrow scope refuses shows a difference.
            without = [alone[name][0], seen[1] if of_b.rows else alone[name][1]]
            if all(
                given[0] == was[0] and given[2] == world.first("b")
                for given, was in zip(told, without, strict=True)
            ):
                dull.append(name)
        session.rollback()
    assert wrong == []
    assert len(looked) > 100, "they were found"
    assert set(dull) == ALWAYS_ITS_OWN.keys() & looked, "what shows no difference proves nothing"


def is_as_without(seen: Any, alone: Any) -> bool:
    """Whether what is seen of another's is nothing, a refusal, or as where the other has no rows (None: unknown)."""
    refusals = ("OutOfScope", "Forbidden", "NotFound")
    is_refusal = isinstance(seen[0], tuple) and seen[0][0] in refusals
    return not seen[0] or is_refusal or (alone is not None and seen[:2] == alone[:2])


def kind(answer: Any) -> Any:
    """An answer; of a refusal only which it is, and of a name only that there is one: another's is not said."""
    if isinstance(answer, tuple):
        return answer[0]
    return "a name" if isinstance(answer, str) else answer


def test_who_sees_everything_asks_what_was_always_asked() -> None:
    """The very statement is handed back: the queue, the log and the curves cost what they did."""
    for kind_of_row in (t.TaskRow, t.EventRow, t.ChunkRow, t.QuotaEntryRow):
        query = select(kind_of_row)
        assert within(query, INSTALLATION, kind_of_row) is query
        assert within(query, Scope(owner="a"), kind_of_row) is query
        assert (
            within(query, Scope(owner="a").own(), kind_of_row) is not query or kind_of_row is t.QuotaEntryRow
        )


def test_a_scope_makes_nothing_out_of_its_sight() -> None:
    scope = Scope(owner="a", project="project-a", projects=frozenset(["project-a"]))
    assert scope.stamp() == {"owner": "a", "project": "project-a"}
    with pytest.raises(Forbidden):
        scope.stamp("project-b")


def test_what_was_there_belongs_to_who_is_known_to_have_made_it(plane: Plane) -> None:
    database, keyed, other = plane.services.database, plane.submit(key="k").id, plane.submit().id
    moved = {
        "idempotency_keys SET principal": "'ann'",
        "webhooks SET project": "'shop', \"by\" = 'ann'",
        "pipelines SET principal": "'ann'",
    }
    rows = list(rows_of("b", NUMBERS["b"]))
    with database.read() as session:
        events = len(session.scalars(select(t.EventRow)).all()) + sum(
            isinstance(row, t.EventRow) for row in rows
        )
    with database.write() as session:
        for row in rows:
            session.add(row)
            session.flush()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "0019")
        for place, values in moved.items():
            session.execute(text(f"UPDATE {place} = {values}"))
    schema.migrate(database)
    with database.read() as session:
        assert session.get_one(t.TaskRow, keyed).owner == "ann"
        assert session.get_one(t.TaskRow, other).owner == "local"
        hook = session.get_one(t.WebhookRow, "hook-b")
        assert (hook.owner, hook.project, hook.only_project) == ("ann", "shop", "shop")
        assert session.get_one(t.PipelineRow, "pipe-b").owner == "ann"
        delivery = session.get_one(t.DeliveryRow, NUMBERS["b"])
        assert (delivery.owner, delivery.project) == ("ann", "shop"), "its webhook's"
        assert session.get_one(t.IdempotencyRow, ("ann", "k")).project == "default"
        assert len(session.scalars(select(t.EventRow)).all()) == events, "nothing is lost"
        assert len(session.scalars(select(t.PipelineStepRow)).all()) == 2
