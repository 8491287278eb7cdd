"""What is done to two replicas: at the same moment, and to one that is killed."""

import concurrent.futures
import datetime as dt
from collections.abc import Callable
from typing import Any

from conftest_platform import Plane
from sqlalchemy import update

from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import LeaseRow, TaskRow

Replicas = tuple[Plane, Plane]
SOON = 10.0
"""Seconds within which the other replica has certainly looked: it does so several times a second."""


def side_by_side(*calls: Callable[[], Any]) -> list[Any]:
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [found.result() for found in [pool.submit(call) for call in calls]]


def kill(plane: Plane) -> None:
    """Let every lease run out, as it does some time after its process was killed."""
    over = {"until": now() - dt.timedelta(seconds=1)}
    with plane.services.database.write() as session:
        session.execute(update(LeaseRow).values(**over))
        session.execute(update(TaskRow).values(lease_until=over["until"]))
