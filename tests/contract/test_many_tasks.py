"""Lists and single tasks among 5 000 with 200 000 measurements: PostgreSQL reads no more than what is shown.

How long that takes says `tests/bench/api.py postgresql`, with twenty times as many; here is what it hangs on.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from many_tasks import LIST, fill, ones_own, task_number
from real_postgres import own_database
from sqlalchemy import Connection, event

from tunesmith.home import Home

TASKS, POINTS = 5_000, 200_000
MOST_ROWS = 900
"""That a call may have read: a page of 50, whether more follow, and those between that a filter leaves out."""


class Asked:
    """What is asked of the database, and how many rows it reads for it."""

    def __init__(self, plane: Plane) -> None:
        self._engine = plane.services.database.engine
        self._statements: list[tuple[str, Any]] = []
        event.listen(self._engine, "before_cursor_execute", self._note)

    def _note(self, _c: Connection, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            self._statements.append((statement, given))

    def plans(self, *, whole_tables: bool = True) -> list[dict[str, Any]]:
        """How PostgreSQL goes about what was asked since the last look.

        Args:
            whole_tables: Whether it may read a whole table where it may, as it does with one so small.
        """
        asked, self._statements = self._statements, []
        assert asked, "nothing was asked"
        with self._engine.connect() as connection:
            if not whole_tables:
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plans = [
                connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given).scalar_one()
                for statement, given in asked
            ]
        self._statements.clear()
        return [plan[0]["Plan"] for plan in plans]

    def rows(self) -> int:
        """How many rows of tables and indexes were read since the last look."""
        return sum(map(_read, self.plans()))


def _read(node: dict[str, Any]) -> int:
    below = sum(map(_read, node.get("Plans", ())))
    if "Scan" not in node["Node Type"]:
        return below
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return below + int((node["Actual Rows"] + removed) * node["Actual Loops"])


@pytest.fixture(scope="module")
def many(postgres_server: str, postgres_with_schema: str, tmp_path_factory: Any) -> Iterator[Plane]:
    home = Home(tmp_path_factory.mktemp("many") / "home")
    home.create()
    with own_database(postgres_server, postgres_with_schema) as url:
        plane = Plane(home, database_url=url)
        fill(plane.services.database, plane.submit().id, TASKS, POINTS)
        yield plane
        plane.services.database.close()


@pytest.fixture
def client(many: Plane) -> Iterator[TestClient]:
    with TestClient(many.app) as client:
        client.headers["Authorization"] = f"Bearer {many.api_key}"
        yield client


@pytest.mark.parametrize("name", [name for name in LIST if name != "a part of a name"])
def test_a_list_reads_about_what_it_shows(many: Plane, client: TestClient, name: str) -> None:
    asked = Asked(many)
    assert client.get("/v1/tasks", params=LIST[name]).status_code == 200
    assert asked.rows() <= MOST_ROWS


def test_a_part_of_a_name_is_looked_for_without_the_rows(many: Plane, client: TestClient) -> None:
    """Each name is looked at, in an index: not each task with all its parameters."""
    asked = Asked(many)
    assert client.get("/v1/tasks", params=LIST["a part of a name"]).json()["data"] == []
    found = [plan for plan in asked.plans(whole_tables=False) if _read(plan) > TASKS]
    assert len(found) == 1
    assert '"Index Only Scan"' in json.dumps(found)


@pytest.mark.parametrize("path", ones_own(task_number(TASKS // 2)))
def test_what_is_asked_of_one_reads_its_own_rows(many: Plane, client: TestClient, path: str) -> None:
    asked = Asked(many)
    assert client.get(path).status_code == 200
    assert asked.rows() <= 50


def test_a_statement_that_reads_everything_is_seen(many: Plane) -> None:
    asked = Asked(many)
    with many.services.database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM tasks WHERE notes = 'none'")
    assert asked.rows() > TASKS
