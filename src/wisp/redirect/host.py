"""Run programs for the redirect, and check two files that iptables uses."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wisp.base.errors import ToolError
from wisp.redirect.plan import Command

_XTABLES_LOCK = Path("/run/xtables.lock")
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_TIMEOUT = 30  # seconds; a transaction takes milliseconds, and iptables waits five seconds for its lock


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: its exit status, standard output and standard error."""

    status: int
    output: str
    error: str


class Machine(Protocol):
    """What `apply` needs of the machine."""

    def has(self, program: str) -> bool:
        """Return whether `program` is on PATH."""
        ...

    def run(self, command: Command) -> Outcome:
        """Run `command` to its end. Raise ToolError if it cannot be started or does not end."""
        ...

    def legacy_nat_exists(self) -> bool:
        """Return whether iptables-legacy may hold a nat table. Listing a table that does not exist would create it."""
        ...

    def lock_opens(self) -> bool:
        """Return whether iptables-legacy can open its lock file."""
        ...


class LocalMachine:
    """The `Machine` that this process runs on, in its network namespace."""

    def __init__(self, *, xtables_lock: Path = _XTABLES_LOCK, legacy_tables: Path = _LEGACY_TABLES) -> None:
        self._xtables_lock = xtables_lock
        self._legacy_tables = legacy_tables

    def has(self, program: str) -> bool:
        """Return whether `program` is on PATH."""
        return shutil.which(program) is not None

    def run(self, command: Command) -> Outcome:
        """Run `command` in the C locale and an otherwise empty environment, because its errors are parsed."""
        name, *arguments = command.arguments
        environment = {"LC_ALL": "C", **dict(command.environment)}
        try:
            ended = subprocess.run(
                [shutil.which(name) or name, *arguments],
                input=command.script,
                env=environment,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT,
            )
        except OSError as error:
            raise ToolError(f"{name} cannot be started ({error.strerror})", hint="install it again") from error
        except subprocess.TimeoutExpired as error:
            raise ToolError(
                f"{name} did not end within {_TIMEOUT} s", hint="check which process holds its lock"
            ) from error
        return Outcome(ended.returncode, ended.stdout, ended.stderr)

    def legacy_nat_exists(self) -> bool:
        """Read the kernel's list of legacy tables. Only root can read it; otherwise assume that there may be one."""
        try:
            return "nat" in self._legacy_tables.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def lock_opens(self) -> bool:
        """Return whether the lock file can be opened or created. Only root can, and not on a read-only root."""
        if self._xtables_lock.exists():
            return os.access(self._xtables_lock, os.R_OK)
        return os.access(self._xtables_lock.parent, os.W_OK)
