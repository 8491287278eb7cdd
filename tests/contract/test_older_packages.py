"""Packages that were made before there was a table of them: entered as it is made. On SQLite and PostgreSQL."""

import shutil
from pathlib import Path

from alembic import command
from alembic.config import Config
from conftest_platform import Plane
from fastapi.testclient import TestClient
from package_bench import CONTENT, FILE, Bench
from sqlalchemy import delete, text

from tunesmith_platform.db import schema
from tunesmith_platform.db.schema import MIGRATIONS
from tunesmith_platform.db.tables import EventRow


def test_packages_of_before_are_listed_kept_and_removed_as_others(plane: Plane, tiny_model: Path) -> None:
    """With what they take and whose training they are; one whose files are gone is seen to be gone."""
    database = plane.services.database
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        bench = Bench(plane, client, tiny_model)
        training = bench.trained({8: 1.0})
        first, second, untold = bench.packaged(training), bench.packaged(training), bench.packaged(training)
        shutil.rmtree(str(second.model_uri))
        before = client.get("/v1/packages").json()
        assert len(before["data"]) == 3
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with database.write() as session:
            # One of a version that told of no package.
            session.execute(
                delete(EventRow).where(EventRow.task_id == untold.id, EventRow.kind == "package_made")
            )
            config.attributes["connection"] = session.connection()
            command.downgrade(config, "0027")
        assert schema.migrate(database)
        with database.read() as session:
            rows = {row.task_id: row for row in session.execute(text("SELECT * FROM packages"))}
        assert set(rows) == {first.id, second.id}
        assert (rows[first.id].of_task_id, rows[first.id].step) == (training.id, 8)
        assert (rows[first.id].files, bool(rows[first.id].is_pinned), rows[first.id].removed_at) == (
            2,
            False,
            None,
        )
        found = {one["task_id"]: one for one in client.get("/v1/packages").json()["data"]}
        known = {one["task_id"]: one for one in before["data"]}
        assert found == {task.id: known[task.id] for task in (first, second)}
        assert client.get(f"/v1/tasks/{first.id}/package/files/{FILE}").content == CONTENT
        assert client.get(f"/v1/tasks/{second.id}/package/files/{FILE}").status_code == 404
        assert client.post(f"/v1/tasks/{first.id}/package:pin").status_code == 200
