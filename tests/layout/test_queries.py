"""What is written once stays so: queries in repositories, the lease, the key of a call, the place of a problem."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = ROOT / "platform" / "tunesmith_platform"
STATEMENTS = {"delete", "func", "insert", "select", "text", "update"}
"""What a query is made with."""
_WHOLE = "A backup is of all rows of all tables, whosever they are."
MAY = {
    "platform/tunesmith_platform/admin/backup.py": _WHOLE,
    "platform/tunesmith_platform/admin/garbage.py": "What is of nobody is found by all rows, whosever they are.",
    "platform/tunesmith_platform/admin/restore.py": _WHOLE,
    "platform/tunesmith_platform/admin/rows.py": _WHOLE,
    "platform/tunesmith_platform/admin/stored.py": _WHOLE,
    "platform/tunesmith_platform/restores.py": "They are the installation's own rows, and nobody else asks for them.",
    "platform/tunesmith_platform/auth.py": "Keys are looked up before there is a scope.",
    "platform/tunesmith_platform/leases.py": "They are the platform's own rows, and nobody else asks for them.",
}
"""Sources beside the repositories that make queries, with why."""
ONCE = {"LeaseRow": "leases.py", "IdempotencyRow": "idempotency.py"}
"""Rows that one module alone knows, besides the tables themselves."""


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every source below some folders of the repository, by its path."""
    for file in sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text("utf-8"))


def statements(module: ast.Module) -> set[str]:
    """The means to make queries that a source imports."""
    return {
        name.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sqlalchemy"
        for name in node.names
        if name.name in STATEMENTS
    }


def written_places(module: ast.Module) -> list[int]:
    """The lines that put a place before a problem's own by hand: what takes its field anew into a text."""
    return [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "model_copy"
        and "'field': f" in ast.unparse(node)
        and "problem" in ast.unparse(node.func.value)
    ]


def test_queries_live_in_repositories() -> None:
    """Whoever looks for one, for an index or a slow page, looks there."""
    found = {
        path: made
        for path, module in sources("platform/tunesmith_platform")
        if (made := statements(module))
        and not path.endswith("/repository.py")
        and "/db/" not in path
        and path not in MAY
    }
    assert found == {}


@pytest.mark.parametrize("row", ONCE)
def test_one_module_knows_the_row(row: str) -> None:
    """A lease, and what a key made, have rules that a second copy would forget one of."""
    knows = {
        path
        for path, module in sources("platform/tunesmith_platform")
        if "/db/" not in path
        and any(isinstance(node, ast.Name) and node.id == row for node in ast.walk(module))
    }
    assert knows == {f"platform/tunesmith_platform/{ONCE[row]}"}


def test_a_place_before_a_problems_own_is_put_there_by_the_problem() -> None:
    """`Problem.under`, or `sandbox.error_fields.at` round what is looked at."""
    found = {
        path: lines
        for path, module in sources("platform", "jobs", "serve")
        if path != "platform/tunesmith/errors.py" and (lines := written_places(module))
    }
    assert found == {}


def test_what_is_said_where_the_cluster_has_no_gpu_is_written_once() -> None:
    """`tunesmith.availability.NO_GPU`: the platform says it at submit, the job where it runs."""
    said = {
        path
        for path, module in sources("platform", "jobs", "serve")
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and "cluster has no GPU" in str(node.value)
    }
    assert said == {"platform/tunesmith/availability.py"}


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import select",
        "from sqlalchemy.sql import func",
        "def f():\n    from sqlalchemy import text",
    ],
)
def test_a_query_elsewhere_is_found(source: str) -> None:
    assert statements(ast.parse(source))


def test_a_place_that_is_put_there_by_hand_is_found() -> None:
    written = 'found = [problem.model_copy(update={"field": f"{place}.{problem.field}"}) for problem in error.problems]'
    assert written_places(ast.parse(written)) == [1]
