"""Transactions on the state file, from any thread of this process and beside other processes."""

import sqlite3
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wisp_local.cloud.schema import open_state, unusable

Row = tuple[Any, ...]  # what sqlite3 gives; each query's columns say what is in it


_PATIENCE = 30.0
"""Seconds to wait for other writers: far more than it takes, and less than a person would."""
_LOOKS_EVERY = 2
"""Milliseconds for which SQLite itself waits, in steps of one.

Left to itself it looks ever less often, until every 100 ms, and a process that writes without a pause then keeps others
out for many seconds: of eight such writers, one waited for six.
"""


class Database:
    """One connection under a lock: SQLite writes one at a time anyway, and a read takes about 10 microseconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_state(path)
        self._connection.execute(f"PRAGMA busy_timeout = {_LOOKS_EVERY}")
        self._lock = threading.RLock()

    def rows(self, query: str, *values: str | float | bytes) -> list[Row]:
        """Return every row of `query`; raises `StateError` when the file has become unusable."""
        with self._lock:
            end = time.monotonic() + _PATIENCE
            while True:
                try:
                    return self._connection.execute(query, values).fetchall()
                except sqlite3.Error as error:
                    if not _is_busy(error) or time.monotonic() > end:
                        raise unusable(self.path, str(error)) from error

    def many(self, statement: str, values: Iterable[tuple[str | float | bytes, ...]]) -> None:
        """Do `statement` for each of `values`; raises `StateError` when the file has become unusable."""
        with self._lock:
            try:
                self._connection.executemany(statement, values)
            except sqlite3.Error as error:
                raise unusable(self.path, str(error)) from error

    @property
    def changes(self) -> int:
        """How many rows this connection has changed so far."""
        return self._connection.total_changes

    def row(self, query: str, *values: str | float | bytes) -> Row | None:
        """Return the first row of `query`, or None."""
        rows = self.rows(query, *values)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make what `rows` does inside one atomic change; it is on disk when the block has ended.

        One within another is part of that. BEGIN IMMEDIATE waits for other writers here, where nothing has been read
        yet; a transaction that began by reading could not wait, and would fail.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self.rows("BEGIN IMMEDIATE")
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def close(self) -> None:
        """Close the connection; the last one to close folds SQLite's log into the file."""
        with self._lock:
            self._connection.close()


def _is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection is in the way for now: the statement did nothing, and may be tried again."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY  # the higher bits say why
