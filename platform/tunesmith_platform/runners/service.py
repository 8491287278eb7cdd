"""What runners ask of the control plane."""

import datetime as dt
import hmac
from pathlib import Path

from tunesmith.errors import NotFound, Unauthorized
from tunesmith.job import RunnerAnswer, RunnerAsk, read_secret, runner_token
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.runners import repository
from tunesmith_platform.runners.repository import RunnerState

_GIVEN = (RunnerState.ASSIGNED, RunnerState.RUNNING)
_NOTED = dt.timedelta(seconds=5)
"""A sign of life so soon after another is not written down."""


class RunnerService:
    """Hands out attempts to runners that ask."""

    def __init__(self, database: Database, report_secret_file: Path) -> None:
        self._database = database
        self._secret_file = report_secret_file

    def authorize(self, runner_id: str, token: str) -> None:
        """Let only the runner itself ask.

        Raises:
            Unauthorized: The token is not this runner's.
        """
        expected = runner_token(read_secret(self._secret_file), runner_id)
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise Unauthorized("This token is not this runner's.")

    def note(self, runner_id: str, ask: RunnerAsk) -> None:
        """Note a runner's sign of life, and that it is warm.

        Raises:
            NotFound: It was given up: it is to leave.
        """
        moment = now()
        with self._database.read() as session:
            row = repository.find(session, runner_id)
            if row is None or row.state == RunnerState.RETURNED:
                raise NotFound(f"There is no runner `{runner_id}`.")
            is_known = row.seen_at is not None and moment - row.seen_at < _NOTED
            is_warmer = ask.is_warm and row.state == RunnerState.STARTING
            if (is_known and not is_warmer) or row.state in _GIVEN:
                return
        with self._database.write() as session:
            to = RunnerState.IDLE if ask.is_warm else RunnerState.STARTING
            repository.move(session, runner_id, to, RunnerState.STARTING, RunnerState.IDLE, seen_at=moment)

    def is_given(self, runner_id: str) -> bool:
        """Whether the answer need not wait any longer: there is an attempt for it, or it is to leave."""
        with self._database.read() as session:
            row = repository.find(session, runner_id)
            return row is None or row.state not in (RunnerState.STARTING, RunnerState.IDLE)

    def take(self, runner_id: str) -> RunnerAnswer:
        """Give a runner its attempt, if it has one. Asked again, it is given the same: the first answer was lost.

        Raises:
            NotFound: It was given up: it is to leave.
        """
        with self._database.write() as session:
            repository.move(session, runner_id, RunnerState.RUNNING, RunnerState.ASSIGNED)
            row = repository.find(session, runner_id)
            if row is None or row.state == RunnerState.RETURNED:
                raise NotFound(f"There is no runner `{runner_id}`.")
            return RunnerAnswer(document_uri=row.document_uri)

    def ready(self) -> int:
        """How many runners wait for a task."""
        with self._database.read() as session:
            return repository.count(session, RunnerState.IDLE)
