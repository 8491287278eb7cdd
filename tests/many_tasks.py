"""A PostgreSQL database with very many tasks and what they measured, made within it. No test itself."""

from sqlalchemy import text

from tunesmith_platform.db.engine import Database

METRICS = 10
"""Measurements of an event, as the trainer's."""
_TASKS = text(
    """
    INSERT INTO tasks
    SELECT made.*
    FROM tasks AS one
    CROSS JOIN generate_series(1, :tasks) AS i
    CROSS JOIN LATERAL jsonb_populate_record(one, jsonb_build_object(
        'id', 'task-' || lpad(i::text, 18, '0'),
        'name', 'run ' || md5(i::text),
        'project', 'project-' || i % 20,
        'tags', CASE WHEN i % 10 = 0 THEN '["nightly"]'::jsonb ELSE jsonb_build_array('day-' || i % 300) END,
        'state', CASE WHEN i % 1000 = 0 THEN 'pending' WHEN i % 50 = 1 THEN 'failed' WHEN i % 50 = 2 THEN 'stopped'
            ELSE 'completed' END,
        'waits_for', CASE WHEN i % 1000 = 0 THEN 'start' END,
        'is_attempt_open', false,
        'attempt', 1,
        'events', :events,
        'created_at', timestamptz '2026-01-01 00:00+00' + i * interval '1 minute'
    )) AS made
    WHERE one.id = :like
    """
)
_EVENTS = text(
    """
    INSERT INTO events (task_id, n, attempt, seq, kind, time, payload)
    SELECT 'task-' || lpad(i::text, 18, '0'), n, 1, n, 'metrics',
        timestamptz '2026-01-01 00:00+00' + i * interval '1 minute' + n * interval '1 second',
        jsonb_build_object('kind', 'metrics', 'step', n, 'values', (
            SELECT jsonb_object_agg(CASE WHEN m = 0 THEN 'loss' ELSE 'metric_' || m END, m + 1.0 / n)
            FROM generate_series(0, :metrics - 1) AS m
        ))
    FROM generate_series(1, :tasks) AS i CROSS JOIN generate_series(1, :events) AS n
    """
)


def fill(database: Database, like: str, tasks: int, points: int) -> None:
    """Store tasks with what they measured, as many points each.

    Args:
        database: PostgreSQL's, with the schema.
        like: The task that they are made like, its parameters among others.
        tasks: How many.
        points: Of all of them together.
    """
    events = points // tasks // METRICS
    with database.write() as session:
        session.execute(_TASKS, {"tasks": tasks, "events": events, "like": like})
        session.execute(_EVENTS, {"tasks": tasks, "events": events, "metrics": METRICS})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) tasks, events"))  # as PostgreSQL does by itself, later


def task_number(number: int) -> str:
    """The id of one of them, counted from 1."""
    return f"task-{number:018d}"


LIST: dict[str, dict[str, str]] = {
    "first page": {},
    "a page in the middle": {"after": task_number(2_500)},
    "a state": {"state": "failed"},
    "a state that few are in": {"state": "pending"},
    "a state that none is in": {"state": "running"},
    "a project": {"project": "project-7"},
    "a tag that many have": {"tag": "nightly"},
    "a tag that few have": {"tag": "day-7"},
    "a tag that none has": {"tag": "nobody"},
    "without a tag": {"without_tag": "nightly"},
    "a part of a name": {"name": "no such name"},
    "everything at once": {"state": "pending", "name": "run", "tag": "nobody", "kind": "train"},
}
"""What lists of tasks are asked for, by what it is."""


def ones_own(task_id: str) -> list[str]:
    """What is asked of one task."""
    whole = f"/v1/tasks/{task_id}"
    parts = ("", "/metrics", "/curves?name=loss", "/events", "/logs", "/checkpoints")
    return [whole + part for part in parts]
