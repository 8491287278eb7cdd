"""Whose data a call may see is asked for wherever rows are read or changed, and every row says whose it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith_platform.db.scoping import OF_A_PROJECT, OF_THE_INSTALLATION, parent
from tunesmith_platform.db.tables import Base

PLATFORM = Path(__file__).resolve().parents[2] / "platform" / "tunesmith_platform"
OF_NOBODY = {
    "access/repository.py": "They say who comes in, before there is a scope.",
    "audit/repository.py": "What administrators see of everybody's changes.",
    "bounds/repository.py": "Every server counts what all others let run, whosever it is.",
    "keys/repository.py": "They say who comes in, before there is a scope.",
    "runners/repository.py": "A warm runner is the cluster's, and takes anybody's task.",
}
"""Repositories whose functions take no scope, with why."""
READS_ITSELF = {
    "leases.py": "leases are the platform's own, and nobody's",
    "admin/restore.py": "A whole database is restored, whosever it is.",
    "auth.py": "Keys are looked up before there is a scope.",
    "db/engine.py": "How transactions begin and what they wait for.",
    "db/schema.py": "The schema's revision.",
    "db/scoping.py": "It is what limits the others.",
    "restores.py": "Where attempts are numbered is the installation's own.",
    "series/service.py": "Only sets how its transaction is kept apart.",
}
"""Sources outside the repositories that ask the database, with why."""
SEES_EVERYTHING = {
    "admin/restore.py": "A whole database is restored, whosever it is.",
    "app.py": "Builds the list of all tasks once for all who see everything.",
    "chats/proving.py": "A loop; a proof that it submits is its row's owner's.",
    "conversations/service.py": "A loop: what is old goes, whosever it is.",
    "datasets/uploads.py": "The disk is shared: what others have promised to send counts, and what is old is removed.",
    "estimates/measure.py": "The cluster is shared: one measurement at a time, and none beside a task.",
    "evaluations/loop.py": "A loop; an evaluation that it submits is its training's owner's.",
    "events/feeds.py": "A task's events are read once for all who follow it; each is asked at the door.",
    "events/service.py": "Jobs report with the token of their own attempt.",
    "mirror/models_shown.py": "Part of the loop that mirrors.",
    "mirror/samples_table.py": "Part of the loop that mirrors.",
    "mirror/service.py": "A loop.",
    "models/fingerprints.py": "A loop.",
    "models/service.py": "What lies in the models folder is found for everybody.",
    "monitoring/loop.py": "A loop.",
    "monitoring/service.py": "The gauges of the whole platform, for those who run it.",
    "notifications/service.py": "A loop.",
    "packaging/loop.py": "A loop.",
    "pipelines/runner.py": "A loop; what it does with a step it does for its pipeline's owner.",
    "reconciler/admission.py": "A loop.",
    "reconciler/applying.py": "What a loop decided, written down.",
    "reconciler/loop.py": "A loop.",
    "runners/pool.py": "A loop.",
    "scope.py": "Where it is defined.",
}
"""Sources that name `INSTALLATION`, with why."""
_ASKS = {"get", "get_one", "scalar", "scalars", "execute", "merge", "connection", "query"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every source of the platform, by its path."""
    for file in sorted(PLATFORM.rglob("*.py")):
        path = file.relative_to(PLATFORM).as_posix()
        if "/versions/" not in path:
            yield path, ast.parse(file.read_text("utf-8"))


def is_repository(path: str) -> bool:
    """Whether a source is one in which queries live."""
    return path.endswith(("/repository.py", "/ledger.py"))


def without_scope(module: ast.Module) -> list[str]:
    """The public functions on rows that do not have to be told whose, or do nothing with it."""
    found = []
    for node in module.body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        names = [argument.arg for argument in node.args.args]
        if "session" not in names:
            continue
        required = names[: len(names) - len(node.args.defaults)]
        given = [one for one in node.args.args if one.arg == "scope" and one.annotation is not None]
        used = {inner.id for stated in node.body for inner in ast.walk(stated) if isinstance(inner, ast.Name)}
        is_scope = bool(given) and ast.unparse(given[0].annotation or given[0]) == "Scope"
        if "scope" not in required or not is_scope or "scope" not in used:
            found.append(node.name)
    return found


def asks(module: ast.Module) -> list[int]:
    """The lines that ask the database through a session."""
    return [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _ASKS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "session"
        # Leases are the platform's own.
        and not (node.args and isinstance(node.args[0], ast.Name) and node.args[0].id == "LeaseRow")
    ]


def test_every_function_on_rows_takes_the_callers_scope_and_uses_it() -> None:
    """Without a default, so that forgetting it does not type-check."""
    found = {path: without_scope(module) for path, module in sources() if is_repository(path)}
    assert len(found) > 12, "they are where they were"
    assert {path: names for path, names in found.items() if names and path not in OF_NOBODY} == {}
    assert {path for path in OF_NOBODY if not found.get(path)} == set(), "an exception that is none any more"


@pytest.mark.parametrize(
    "source",
    [
        "def f(session: Session, task_id: str) -> None:\n    session.get(task_id)",
        "def f(session: Session, scope: Scope = INSTALLATION) -> None:\n    within(scope)",
        "def f(session: Session, scope: Any) -> None:\n    within(scope)",
        "def f(session: Session, scope: Scope) -> None:\n    session.get(1)",
    ],
)
def test_what_forgets_it_is_found(source: str) -> None:
    assert without_scope(ast.parse(source)) == ["f"]


def test_rows_are_asked_for_in_repositories_alone() -> None:
    """A query elsewhere would know of no scope."""
    found = {path: asks(module) for path, module in sources() if not is_repository(path)}
    assert {path: lines for path, lines in found.items() if lines and path not in READS_ITSELF} == {}
    assert {path for path in READS_ITSELF if not found.get(path)} == set(), (
        "an exception that is none any more"
    )


def test_what_is_an_owners_is_found_by_an_index() -> None:
    """A narrow scope's lists would read everybody's rows."""
    found = {
        table.name
        for table in Base.metadata.sorted_tables
        if "owner" in table.c
        and table.name not in OF_THE_INSTALLATION
        and not any(
            next(iter(columns)).name == "owner"
            for columns in (table.primary_key, *(index.columns for index in table.indexes))
        )
    }
    assert found == set()


def test_who_sees_everything_is_named() -> None:
    """An endpoint that took the installation's scope would let everybody see everything."""
    found = {
        path
        for path, module in sources()
        if any(isinstance(node, ast.Name) and node.id == "INSTALLATION" for node in ast.walk(module))
    }
    assert found == SEES_EVERYTHING.keys()


def test_who_came_in_becomes_a_scope_in_one_place() -> None:
    """What sign-in and roles will change is one function."""
    made = {
        path
        for path, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Scope"
    }
    assert made == {"auth.py", "scope.py"}


def test_every_table_says_whose_its_rows_are() -> None:
    """By columns of its own, or by a key that leads to the row that it is a part of; there is no third way."""
    tables = Base.metadata.tables
    assert OF_THE_INSTALLATION.keys() | OF_A_PROJECT.keys() <= tables.keys()
    assert not OF_THE_INSTALLATION.keys() & OF_A_PROJECT.keys()
    for name, table in tables.items():
        whole = table
        while (link := parent(whole)) is not None:
            assert next(iter(link[0].foreign_keys)).ondelete == "CASCADE", (
                f"{name} outlives what it is a part of"
            )
            whole = link[1].table
        columns = {"owner", "project"} - ({"owner"} if name in OF_A_PROJECT else set())
        if name in OF_THE_INSTALLATION:
            assert not columns <= set(whole.c.keys()), f"{name} says whose it is"
            continue
        for column in columns:
            assert column in whole.c, f"{name} does not say its {column}"
            assert not whole.c[column].nullable
            stamped = whole.c[column]
            assert (stamped.default, stamped.server_default) == (None, None), "who makes a row stamps it"
