"""The state file (its tables are in `schema.sql`), and transactions on it, from several threads and processes.

Write-ahead logging lets the server read while a command writes; `synchronous=FULL` means that an answered change
survives a killed process and a power cut. Token exchanges write nothing, so it costs them nothing.
"""

import contextlib
import os
import pkgutil
import sqlite3
import stat
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from wisp_local.cloud.errors import StateError

SCHEMA_VERSION = 5  # `user_version`; 1 to 4 were development versions, which are refused
_APPLICATION_ID = 0x77697370  # "wisp": tells our file from any other SQLite database
_PATIENCE = 30.0
"""Seconds to wait for other writers: far more than they take, and less than a person would."""
_RETRY_MILLISECONDS = 2
"""For which SQLite itself waits, in steps of one.

Left to itself it looks less and less often, down to every 100 ms, and a process that writes without a pause then keeps
others out for many seconds: of eight such writers, one waited for six.
"""

Row = tuple[Any, ...]  # what sqlite3 returns; each query's columns say what is in it


class Database:
    """The state file at `path`, created with mode 0600 when it is absent; raises `StateError` when it is unusable.

    One connection under a lock: SQLite writes one at a time anyway, and a read takes about 10 microseconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        _make_private(path)
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except sqlite3.Error as error:
            raise _unusable(path, str(error)) from error
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def rows(self, query: str, *values: str | float | bytes) -> list[Row]:
        """Return every row of `query`; raises `StateError` when the file has become unusable."""
        with self._lock:
            end = time.monotonic() + _PATIENCE
            while True:
                try:
                    return self._connection.execute(query, values).fetchall()
                except sqlite3.Error as error:
                    # The extended code's low byte: another connection is in the way; the statement did nothing.
                    is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                    if not is_busy or time.monotonic() > end:
                        raise _unusable(self.path, str(error)) from error

    def row(self, query: str, *values: str | float | bytes) -> Row | None:
        """Return the first row of `query`, or None."""
        rows = self.rows(query, *values)
        return rows[0] if rows else None

    @property
    def changes(self) -> int:
        """How many rows this connection has changed so far."""
        return self._connection.total_changes

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Make what `rows` does inside one atomic change; it is on disk when the block has ended.

        A nested transaction is part of the outer one. BEGIN IMMEDIATE waits for other writers here, where nothing has
        been read yet; a transaction that began by reading could not wait, and would fail.
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

    def _prepare(self) -> None:
        self.rows(f"PRAGMA busy_timeout = {_RETRY_MILLISECONDS}")
        self.rows("PRAGMA foreign_keys = ON")
        self.rows("PRAGMA synchronous = FULL")  # some builds of SQLite have less with a write-ahead log
        if not self._has_schema():
            with self.transaction():
                if not self._has_schema():  # two processes may both have found the file empty
                    self._create_schema()
        # The one statement that does not wait for others; until it succeeds, in any process, all is slower but right.
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA journal_mode = WAL")

    def _has_schema(self) -> bool:
        """Tell whether the file has our tables (False: it is empty); raise `StateError` for any other database."""
        # In this order the three reads need no transaction: tables and numbers are committed together.
        queries = ("SELECT count(*) FROM sqlite_schema", "PRAGMA application_id", "PRAGMA user_version")
        tables, application, version = (int(self.rows(query)[0][0]) for query in queries)
        if not tables:
            return False
        if application != _APPLICATION_ID:
            raise _unusable(self.path, "it is a database, but not a state file of wisp's")
        if version > SCHEMA_VERSION:
            raise _unusable(self.path, "a newer wisp made it; upgrade wisp to read it")
        if version < SCHEMA_VERSION:
            raise _unusable(
                self.path, "a development version of wisp made it", "delete it, or name another with --state"
            )
        return True

    def _create_schema(self) -> None:
        for statement in (pkgutil.get_data(__package__, "schema.sql") or b"").decode().split(";\n"):
            self.rows(statement)
        self.rows(f"PRAGMA application_id = {_APPLICATION_ID}")
        self.rows(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _unusable(path: Path, reason: str, hint: str = "name another with --state") -> StateError:
    return StateError(f"the state file {path} cannot be used ({reason})", hint=hint)


def _make_private(path: Path) -> None:
    """Create the file readable by its owner alone before anything is in it; SQLite gives its log the same mode.

    A file that exists is not opened here: closing it again would drop the locks of another `Store` of this process
    (POSIX locks belong to the process; https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise _unusable(path, "it is not a regular file")
            if stat.S_IMODE(mode) != 0o600:
                path.chmod(0o600)
        except OSError as error:
            raise _unusable(path, error.strerror or "its mode cannot be changed") from error
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be created") from error
