"""How a SQLite file comes to be one with a write-ahead log, also while another process does the same."""

import sqlite3
import time

_AGAIN_SECONDS = 0.02


def use_wal(cursor: sqlite3.Cursor, patience_seconds: float) -> None:
    """Have a file use a write-ahead log, as it does from then on.

    SQLite waits for no writer while it changes that, whatever its timeout: of two processes that started at once on a
    new file one ended.

    Raises:
        sqlite3.OperationalError: Another one holds the file for longer than `patience_seconds`.
    """
    until = time.monotonic() + patience_seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return
