"""What the other servers let run for each key: written down by each while it has some, and read by the others.

A question waits for no write. What is read is a third of a second old at most, so that what comes at several servers
within that may go beyond a bound once, or before its turn; what goes on is counted by all. No server's clock is held
against another's: ages are written down, and a server is there as long as what it says changes.

Lives on the event loop; the database is asked in threads. Without the database each server goes on by itself.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from tunesmith.errors import TunesmithError
from tunesmith_platform.bounds import repository
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ServerUseRow
from tunesmith_platform.leases import is_gone, new_owner

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3
_SAID_SECONDS = 3.0
"""So often a server says that it is there."""
_GONE_SECONDS = 10.0
"""A server that has said nothing new for so long runs nothing any more."""
_FORGOTTEN = dt.timedelta(minutes=2)
"""Longer than what was spent counts."""
_PATIENCE_SECONDS = 1.0
"""How long a question waits for what others say."""


class Use(NamedTuple):
    """What some server lets run for a key, or all others together. Moments are of this process's clock."""

    running: int = 0
    waiting: int = 0
    since: float | None = None
    """When the one came that has waited longest."""
    spent: tuple[tuple[float, int], ...] = ()
    """When how many tokens were taken."""


class _Server(NamedTuple):
    """What another server said, and when that was seen first."""

    beat: int
    seen_at: float
    uses: Mapping[str, Any]


class Sharing:
    """What others let run, and what is said to them.

    Args:
        database: Where it is written down.
        own: What this server lets run now, by keys.
        woken: Called when others may have made room.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        database: Database,
        own: Callable[[], Mapping[str, Use]],
        woken: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._own, self._woken, self._clock = database, own, woken, clock
        self._server = new_owner()
        self._others: dict[str, _Server] = {}
        self._looked_at = self._said_at = float("-inf")
        self._beat = 0
        self._said: Mapping[str, Use] = {}
        self._moved = asyncio.Event()
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_apart = False

    def elsewhere(self, key: str) -> Use:
        """What the other servers let run for a key, as far as it is known."""
        moment = self._clock()
        found = Use()
        for server in self._others.values():
            said = server.uses.get(key)
            if said is None:
                continue
            spent = tuple((server.seen_at - age, tokens) for age, tokens in said["spent"])
            if moment - server.seen_at > _GONE_SECONDS:  # what it spent, it spent
                found = found._replace(spent=found.spent + spent)
                continue
            waits = None if said["waited"] is None else server.seen_at - said["waited"]
            found = Use(
                found.running + said["running"],
                found.waiting + said["waiting"],
                min((one for one in (found.since, waits) if one is not None), default=None),
                found.spent + spent,
            )
        return found

    def moved(self) -> None:
        """What this server lets run has changed: the others are told in a moment."""
        self._moved.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def look(self) -> None:
        """Know what others say, if it is not known already; waits a second for it at the most."""
        if self._clock() - self._looked_at > _LOOK_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._refresh(says=False)), _PATIENCE_SECONDS)

    async def close(self) -> None:
        """Say nothing more, and leave nothing behind."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._said:
            self._said = {}
            await run_in_threadpool(self._leave)

    async def _tell(self) -> None:
        while True:
            self._moved.clear()
            await self._refresh(says=True)
            self._woken()
            own = self._own()
            if not own and not self._said:
                return
            is_busy = any(use.running or use.waiting for use in own.values())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), _LOOK_SECONDS if is_busy else _SAID_SECONDS)
            if is_busy:
                await asyncio.sleep(_LOOK_SECONDS / 10)  # what comes together is said together

    async def _refresh(self, *, says: bool) -> None:
        async with self._looking:
            moment, own = self._clock(), dict(self._own())
            is_said = own == self._said and moment - self._said_at < _SAID_SECONDS
            is_seen = moment - self._looked_at < _LOOK_SECONDS / 2
            say = own if says and not is_said and (own or self._said) else None
            if is_seen and say is None:
                return
            try:
                rows = await run_in_threadpool(self._exchange, say, moment)
            except (TunesmithError, SQLAlchemyError, OSError):
                if not self._is_apart:
                    logger.warning(
                        "What other servers let run is not known; this one counts for itself.", exc_info=True
                    )
                self._is_apart = True
                self._looked_at = moment
                return
            self._is_apart = False
            self._looked_at = self._clock()
            if say is not None:
                self._said, self._said_at = say, moment
            before = self._others
            self._others = {
                row.server: known
                if (known := before.get(row.server)) is not None and known.beat == row.beat
                else _Server(row.beat, self._looked_at, row.uses)
                for row in rows
                if row.server != self._server and not is_gone(row.server)
            }

    def _exchange(self, say: Mapping[str, Use] | None, moment: float) -> list[ServerUseRow]:
        if say:
            self._beat += 1
            uses = {key: _written(use, moment) for key, use in say.items()}
            row = ServerUseRow(server=self._server, beat=self._beat, uses=uses, said_at=now())
            with self._database.write() as session:
                repository.put(session, row)
        elif say is not None:
            self._leave()
        with self._database.read() as session:
            return list(repository.newest(session, now() - _FORGOTTEN))

    def _leave(self) -> None:
        with contextlib.suppress(TunesmithError, SQLAlchemyError), self._database.write() as session:
            repository.remove(session, [self._server], now() - _FORGOTTEN)


def _written(use: Use, moment: float) -> dict[str, Any]:
    return {
        "running": use.running,
        "waiting": use.waiting,
        "waited": None if use.since is None else round(moment - use.since, 2),
        "spent": [[round(moment - at, 2), tokens] for at, tokens in use.spent],
    }
