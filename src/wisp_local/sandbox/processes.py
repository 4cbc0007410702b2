"""Programs of the lab: run to their end, or kept running beside it with a log that can be looked at."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp.base.errors import ToolError, WispError
from wisp.base.masking import masked
from wisp.base.secret import Secret

_TAIL, _WIDTH = 12, 500  # lines and columns of a log that are shown
_GRACE = 3.0  # seconds to end after SIGTERM


@dataclass(frozen=True)
class Place:
    """Where and as whom programs run: a command prefix, a whole environment, descriptors to hand on."""

    prefix: tuple[str, ...]
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()

    def having(self, variables: Mapping[str, str]) -> "Place":
        """Return the same place with more environment variables."""
        return Place(self.prefix, {**self.environment, **variables}, self.descriptors)

    def handing(self, *descriptors: int) -> "Place":
        """Return the same place with more descriptors to hand on."""
        return Place(self.prefix, self.environment, (*self.descriptors, *descriptors))


@dataclass(frozen=True)
class Outcome:
    """How a program ended: its exit status, what it printed (which may be a token) and what it complained of."""

    status: int
    output: Secret
    complaint: str


class FailedError(WispError):
    """A part of the lab failed; `log` is the end of what it said, without anything that looks like a token."""

    def __init__(self, problem: str, *, hint: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(problem, hint=hint)
        self.log = log


def run(place: Place, *command: str, timeout: float = 30) -> Outcome:
    """Run `command` to its end; raises ToolError when it cannot be started or does not end in `timeout` seconds."""
    program = " ".join(command[:3])
    try:
        ended = subprocess.run(
            [*place.prefix, *command],
            env=dict(place.environment),
            pass_fds=place.descriptors,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    except OSError as error:
        raise ToolError(f"{program} cannot be started ({error.strerror})", hint="install it anew") from error
    except subprocess.TimeoutExpired:
        raise ToolError(f"{program} did not end within {timeout:g} s", hint="see whether the machine is busy") from None
    return Outcome(ended.returncode, Secret(ended.stdout), ended.stderr)


def tail(text: str) -> tuple[str, ...]:
    """Return the last lines of `text`, each cut to a readable length, with tokens masked, broken off ones too.

    They are cut a first time before they are searched for tokens.
    """
    return tuple(masked(line[: 8 * _WIDTH], cut=True)[:_WIDTH] for line in text.splitlines()[-_TAIL:])


class Component:
    """A program that runs beside the story; what it says on standard error goes to the file `log`."""

    def __init__(self, name: str, started: subprocess.Popen[bytes], log: Path) -> None:
        self._name = name
        self._started = started
        self._log = log

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._name

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started.pid

    def has_ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self._started.poll() is not None

    def first_line(self, timeout: float) -> bytes:
        """Return the first line that it prints; raises FailedError when there is none within `timeout` seconds."""
        assert self._started.stdout is not None  # noqa: S101 -- `beside` makes the pipe
        descriptor, line, end = self._started.stdout.fileno(), b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            said = os.read(descriptor, 4096) if select.select([descriptor], [], [], left)[0] else b""
            if not said:
                raise self.failure("did not start")
            line += said
        return line

    def let_go(self) -> None:
        """Let it outlive this process: it is not read from any more, and not waited for."""
        assert self._started.stdout is not None  # noqa: S101 -- whoever starts it makes the pipe
        self._started.stdout.close()
        self._started.returncode = 0

    def failure(self, what: str, *said: str) -> FailedError:
        """Make the error that says what it did not do, with what others `said` and the end of its log."""
        log = (*said, *(f"{self._name}: {line}" for line in self.log_tail()))
        return FailedError(f"{self._name} {what}", hint="its last words are above", log=log)

    def log_tail(self) -> tuple[str, ...]:
        """Give the end of its log, fit to be shown."""
        return tail(self._log.read_text(encoding="utf-8", errors="replace"))

    def end(self, grace: float) -> None:
        """End it and whatever it started: kindly, and after `grace` seconds not."""
        self._started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._started.pid, signal.SIGKILL)
        self._started.wait()


@contextlib.contextmanager
def beside(name: str, place: Place, log: Path, *command: str, grace: float = _GRACE) -> Iterator[Component]:
    """Run `command`, called `name` in messages, in a process group of its own until the block is left.

    Then it has `grace` seconds to end by itself.
    """
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [*place.prefix, *command],
            env=dict(place.environment),
            pass_fds=place.descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=written,
            process_group=0,
        ) as started,
    ):
        component = Component(name, started, log)
        try:
            yield component
        finally:
            component.end(grace)


_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment(user_environment: Mapping[str, str]) -> dict[str, str]:
    """Make the environment of every program of the lab, which takes from the user's own what finds programs.

    Proxies, trust stores, Python's settings and whatever else the user has set stay out.
    """
    path = user_environment.get("PATH")
    libraries = {name: value for name, value in user_environment.items() if name == "LD_LIBRARY_PATH"}
    return {
        "PATH": f"{path}:{_SYSTEM_FOLDERS}" if path else _SYSTEM_FOLDERS,  # a user's PATH is often without /usr/sbin
        "LC_ALL": "C.UTF-8",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **libraries,
    }
