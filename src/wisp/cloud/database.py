"""Transactions on the state file, from any thread of this process and beside other processes."""

import sqlite3
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wisp.cloud.schema import open_state, unusable

Row = tuple[Any, ...]  # what sqlite3 gives; each query's columns say what is in it


class Database:
    """One connection under a lock: SQLite writes one at a time anyway, and a read takes about 10 microseconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_state(path)
        self._lock = threading.RLock()

    def rows(self, query: str, *values: str | float | bytes) -> list[Row]:
        """Return every row of `query`; raises `StateError` when the file has become unusable."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
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
            except BaseException:
                self._connection.rollback()
                raise
            self.rows("COMMIT")

    def close(self) -> None:
        """Close the connection; the last one to close folds SQLite's log into the file."""
        with self._lock:
            self._connection.close()
