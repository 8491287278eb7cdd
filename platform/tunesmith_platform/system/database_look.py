"""Whether the database answers, for who asks every few seconds and has no patience.

One look at a time, in a thread of its own: those of the calls may all be waiting for the database, and a look that
hangs must not gather others behind it.
"""

import asyncio
import threading
from concurrent.futures import Future

from tunesmith_platform.db.engine import Database


class DatabaseLook:
    """Looks whether the database answers.

    Args:
        database: The process's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._under_way: Future[bool] | None = None

    async def answers(self, patience_seconds: float) -> bool:
        """Whether it answered in time. Who asks while a look is under way waits for that one."""
        look = self._under_way
        if look is None or look.done():
            look = self._under_way = Future()
            threading.Thread(target=self._look, args=(look,), name="database-look", daemon=True).start()
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(look)), patience_seconds)
        except TimeoutError:
            return False

    def _look(self, look: Future[bool]) -> None:
        try:
            look.set_result(self._database.answers())
        except BaseException as error:  # it is told to who asked
            look.set_exception(error)
