"""Open the state file: one SQLite database that several processes may use at once.

Write-ahead logging lets the server read while a command writes; `synchronous=FULL` means that what
was answered survives a killed process and a power cut. Exchanges write nothing, so it costs them nothing.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Generator
from pathlib import Path

from wisp_local.cloud.errors import StateError
from wisp_local.cloud.migrations import MIGRATIONS

SCHEMA_VERSION = len(MIGRATIONS)
_APPLICATION_ID = 0x77697370  # "wisp": tells our file from any other SQLite database
_BUSY_MILLISECONDS = 10_000


def open_state(path: Path) -> sqlite3.Connection:
    """Open the state file at `path`, making it (mode 0600) when it is absent.

    Raises `StateError` when the file or its folder cannot be used, is no state of wisp's, or is a newer wisp's.
    """
    _make_private(path)
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unusable(path, str(error)) from error
    return connection


def unusable(path: Path, reason: str) -> StateError:
    """Say that the file at `path` cannot serve as state."""
    return StateError(f"the state file {path} cannot be used ({reason})", hint="name another with --state")


def _make_private(path: Path) -> None:
    """Create the file readable by its owner alone before anything is in it; SQLite gives its log the same mode.

    A file that exists is not opened here: closing it again would drop the locks of another `Store` of this process
    (POSIX locks belong to the process; https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _tighten(path)
    except OSError as error:
        raise unusable(path, error.strerror or "it cannot be made") from error


def _tighten(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise unusable(path, "it is no regular file")
        if stat.S_IMODE(mode) != 0o600:
            path.chmod(0o600)
    except OSError as error:
        raise unusable(path, error.strerror or "its mode cannot be changed") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # some builds of SQLite have less with a write-ahead log
    with _transaction(connection, "BEGIN"):
        version = _version(connection, path)
    if version < SCHEMA_VERSION:
        with _transaction(connection, "BEGIN IMMEDIATE"):  # two processes may both have found the file old
            _migrate(connection, _version(connection, path))
    # The one statement that does not wait for others; until it succeeds, in whichever process, all is slower but right.
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Generator[None]:
    """See one state of the file throughout, and change it whole or not at all."""
    connection.execute(begin)
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return how many migrations our database has had, 0 for an empty one; raise for any other."""
    application, version = (_number(connection, f"PRAGMA {name}") for name in ("application_id", "user_version"))
    if application == _APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise unusable(path, "a newer wisp made it; upgrade wisp to read it")
        return version
    if _number(connection, "SELECT count(*) FROM sqlite_schema"):
        raise unusable(path, "it is a database, but no state of wisp's")
    return 0


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for migration in MIGRATIONS[version:]:
        for statement in migration.split(";\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
