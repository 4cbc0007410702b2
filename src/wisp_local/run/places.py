"""Where a run keeps what stays: the local cloud's state, and beside it the logs of the last runs."""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

from wisp.base.errors import SettingError
from wisp_local.run.wanted import Authority, LocalCloud
from wisp_local.sandbox.folders import state_folder

_STATE = "run.db"
_KEPT = 10  # logs


@dataclass(frozen=True)
class Log:
    """A log open at `descriptor`; `path` is None where it is in no folder."""

    descriptor: int
    path: Path | None

    def text(self) -> str:
        """Return what was said so far."""
        said = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        return said.decode(errors="replace")


@dataclass(frozen=True)
class Settled:
    """The authority with its files in place; logs are kept beside `keeps`, if anywhere."""

    authority: Authority
    keeps: Path | None
    notes: tuple[str, ...] = ()


def settle(authority: Authority, environ: Mapping[str, str], home: Path | None) -> Settled:
    """Find, and make private, the places of the files that `authority` leaves open; raises SettingError."""
    if isinstance(authority, LocalCloud) and authority.state is not None:
        named = _named("--state", authority.state, authority.state.parent)
        return Settled(replace(authority, state=named), named)
    state, why = _own(default_state(environ, home))
    if isinstance(authority, LocalCloud):
        lost = "the local cloud, and with it the identity, goes with the command"
        return Settled(replace(authority, state=state), state, () if state else (f"{lost} ({why})",))
    token_file = _named("--federated-token-file", authority.token_file, authority.token_file)
    ca = authority.ca and _named("--authority-ca", authority.ca, authority.ca)
    return Settled(replace(authority, token_file=token_file, ca=ca), state)


def default_state(environ: Mapping[str, str], home: Path | None) -> Path | None:
    """Say where a user's state file is: None for a user without a home."""
    folder = state_folder(environ, home)
    return None if folder is None else folder / _STATE


def _own(state: Path | None) -> tuple[Path | None, str]:
    """Make the folder of the user's own state file; None and the reason where it cannot be used."""
    if state is None:
        return None, "this user has no home"
    folder = state.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        writable = os.access(folder, os.W_OK | os.X_OK) and (not state.exists() or os.access(state, os.R_OK | os.W_OK))
    except OSError as error:
        return None, f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return (state, "") if writable else (None, f"{folder} is not writable")


def _named(flag: str, path: Path, needed: Path) -> Path:
    """Return the path that the user named, for whatever working directory."""
    if not needed.exists():
        raise SettingError(f"{flag} {path}: there is no {needed.absolute()}", hint="name another")
    return path.absolute()


def open_log(state: Path | None) -> Log:
    """Open a new log beside `state`, and let go of the oldest; where there is no state, one that is in no folder."""
    if state is not None:
        with contextlib.suppress(OSError):
            return _log_in(state.with_name(f"{state.name}.logs"))
    with TemporaryFile() as file:
        return Log(os.dup(file.fileno()), None)


def _log_in(folder: Path) -> Log:
    folder.mkdir(exist_ok=True, mode=0o700)
    for old in sorted(folder.glob("*.log"))[: -_KEPT + 1]:
        old.unlink(missing_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    return Log(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600), path)
