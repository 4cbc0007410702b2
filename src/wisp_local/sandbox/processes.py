"""Starts and supervises programs: run to their end, kept running with a log, or left running after this command.

`spawn` starts every long-running program of `wisp run`, `wisp demo`, `wisp lab`, the pytest plugin and the builds. Each
has a session of its own: Ctrl-C in a terminal does not reach it, and it can be stopped with every process that it has
started.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from wisp.base.errors import ToolError, WispError
from wisp.base.files import write_atomically
from wisp.base.masking import masked
from wisp.base.secret import Secret

STANDARD_ERROR = Path("/proc/self/fd/2")
"""As a log: the program inherits this process's standard error, which is a file."""
END_WITH_PARENT = ("setpriv", "--pdeathsig=KILL", "--")
"""Command prefix: the kernel kills the program when the process that started it ends."""
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TAIL, _WIDTH = 12, 500  # lines and columns of a log that are shown
_GRACE = 3.0  # seconds to end after SIGTERM
_KILL_TIME = 5.0  # seconds for a group to end after SIGKILL
_POLL = 0.02  # seconds
_CHUNK = 65536
_START_TIME = 19  # field 22 of /proc/PID/stat, counted from the one after the program's name
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = "ZX"  # states of a process that has ended and was not waited for


@dataclass(frozen=True)
class ProcessContext:
    """Where and as whom programs run: a command prefix, the whole environment, file descriptors to inherit."""

    prefix: tuple[str, ...]
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()

    def with_variables(self, variables: Mapping[str, str]) -> "ProcessContext":
        """Return the context with more environment variables."""
        return replace(self, environment={**self.environment, **variables})

    def with_descriptors(self, *descriptors: int) -> "ProcessContext":
        """Return the context with more file descriptors."""
        return replace(self, descriptors=(*self.descriptors, *descriptors))


@dataclass(frozen=True)
class Result:
    """Exit status and output of a program. Standard output may be a token."""

    status: int
    output: Secret
    errors: str


class ComponentError(WispError):
    """A component failed. `log` is the end of its log, without anything that looks like a token."""

    def __init__(self, problem: str, *, hint: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(problem, hint=hint)
        self.log = log

    def report(self) -> str:
        """Return the log, indented, before the lines of every error."""
        return "".join(f"  {line}\n" for line in self.log) + super().report()


def base_environment(user_environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of programs that must not depend on the user's settings.

    Only what finds programs and libraries is the user's: proxies, trust stores and Python settings are left out.
    """
    path = user_environment.get("PATH")
    libraries = {name: value for name, value in user_environment.items() if name == "LD_LIBRARY_PATH"}
    return {
        "PATH": f"{path}:{_SYSTEM_FOLDERS}" if path else _SYSTEM_FOLDERS,  # a user's PATH often lacks /usr/sbin
        "LC_ALL": "C.UTF-8",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **libraries,
    }


def run(context: ProcessContext, *command: str, stdin: str = "", timeout: float = 30) -> Result:
    """Run `command` to its end, with `stdin` as its standard input.

    Raise ToolError if it cannot be started or takes longer than `timeout` seconds.
    """
    program = " ".join(command[:3])
    try:
        ended = subprocess.run(
            [*context.prefix, *command],
            env=context.environment,
            pass_fds=context.descriptors,
            input=stdin,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    except OSError as error:
        raise _cannot_start(program, error) from error
    except subprocess.TimeoutExpired:
        problem = f"{program} did not end within {timeout:g} s"
        raise ToolError(problem, hint="check whether the machine is busy, then try again") from None
    return Result(ended.returncode, Secret(ended.stdout), ended.stderr)


def spawn(
    context: ProcessContext,
    *command: str,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own and, if given, in `folder`. Raise ToolError."""
    try:
        return subprocess.Popen(
            [*context.prefix, *command],
            env=context.environment,
            pass_fds=context.descriptors,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise _cannot_start(command[0], error) from error


def _cannot_start(program: str, error: OSError) -> ToolError:
    return ToolError(
        f"{program} cannot be started ({error.strerror})", hint=f"reinstall {program.split(maxsplit=1)[0]}"
    )


def tied(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command for `python -m module` that the kernel kills when this thread ends, however it does.

    Unlike END_WITH_PARENT it needs no setpriv; unlike a `preexec_fn` it is safe in processes that have threads.
    """
    return (sys.executable, "-m", "wisp_local.sandbox.tied", str(os.getpid()), module, *arguments)


def tail(text: str) -> tuple[str, ...]:
    """Return the last lines of `text`, cut to a readable length, with tokens masked, including truncated tokens.

    Lines are cut a first time before they are searched for tokens.
    """
    return tuple(masked(line[: 8 * _WIDTH], cut=True)[:_WIDTH] for line in text.splitlines()[-_TAIL:])


class Component:
    """A program that keeps running, called `name` in messages. Its standard error goes to the file `log`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self._process.poll() is not None

    def first_line(self, timeout: float) -> bytes:
        """Return the first line that it prints. Raise ComponentError if nothing is printed within `timeout` seconds."""
        assert self._process.stdout is not None  # noqa: S101 -- spawn makes the pipe
        descriptor, line, end = self._process.stdout.fileno(), b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            chunk = os.read(descriptor, 4096) if select.select([descriptor], [], [], left)[0] else b""
            if not chunk:
                raise self.failure("did not start")
            line += chunk
        return line

    def detach(self) -> None:
        """Let it outlive this process: nothing reads its output or waits for it any more."""
        assert self._process.stdout is not None  # noqa: S101 -- spawn makes the pipe
        self._process.stdout.close()
        self._process.returncode = 0

    def failure(self, what: str, *lines: str) -> ComponentError:
        """Return the error that it "did not start", with other output `lines` and the end of its log."""
        log = (*lines, *(f"{self.name}: {line}" for line in self.log_tail()))
        return ComponentError(f"{self.name} {what}", hint="fix what its log reports (the lines above)", log=log)

    def log_tail(self) -> tuple[str, ...]:
        """Return the end of its log, fit to be shown."""
        return tail(self._log.read_text(encoding="utf-8", errors="replace"))

    def stop(self, grace: float = _GRACE) -> None:
        """Send SIGTERM, and after `grace` seconds SIGKILL to it and every process that it has started."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running_component(
    name: str, context: ProcessContext, log: Path, *command: str, grace: float = _GRACE
) -> Iterator[Component]:
    """Keep `command` running, called `name` in messages, until the block is left. Its log is appended to `log`.

    Then it has `grace` seconds to end by itself.
    """
    with contextlib.ExitStack() as stack:
        errors = None if log == STANDARD_ERROR else stack.enter_context(open_log(log))
        component = Component(name, stack.enter_context(spawn(context, *command, stderr=errors)), log)
        try:
            yield component
        finally:
            component.stop(grace)


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to it; only its owner may read it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")


def stop_group(process: subprocess.Popen[bytes], patience: float) -> None:
    """Stop a program and every process that it has started: SIGINT, after `patience` seconds SIGTERM, then SIGKILL.

    SIGINT is first because go removes its work folder at that signal only.
    """
    for number, seconds in ((signal.SIGINT, patience), (signal.SIGTERM, patience), (signal.SIGKILL, _KILL_TIME)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not _group_is_running(process):
                return
            time.sleep(_POLL)


def _group_is_running(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    if process.stdout is not None:  # a tool that prints to a full pipe would not end
        os.set_blocking(process.stdout.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while os.read(process.stdout.fileno(), _CHUNK):
                pass
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that outlives the command that started it: its id, and its start time as its own system writes it.

    A process id is used again after a while; together with the start time it is not (proc(5)).
    """

    pid: int
    started: str

    def is_running(self) -> bool:
        """Tell whether it is still running. A process that has ended and was not waited for is not."""
        return find_process(self.pid) == self

    def stop(self, number: signal.Signals, within: float) -> bool:
        """Send a signal; return whether the process has ended within that many seconds."""
        deadline = time.monotonic() + within
        self._send(number)
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not hasattr(os, "pidfd_open"):
                if self.is_running():
                    os.kill(self.pid, number)
                return
            handle = os.pidfd_open(self.pid)  # from here on the id cannot become another process's
            try:
                if self.is_running():
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def write(self, path: Path) -> None:
        """Write it to a file, from which a later command reads it."""
        write_atomically(path, json.dumps({"pid": self.pid, "started": self.started}))

    @classmethod
    def read(cls, path: Path) -> "ProcessIdentity | None":
        """Return the process that `write` wrote; None if the file does not exist or is not valid."""
        try:
            document = json.loads(path.read_text(encoding="ascii"))
            return cls(int(document["pid"]), str(document["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def find_process(pid: int) -> ProcessIdentity | None:
    """Return the running process of that id."""
    started = start_time_from_proc(pid) if _BOOT.exists() else start_time_from_ps(pid)
    return None if started is None else ProcessIdentity(pid, started)


def start_time_from_proc(pid: int) -> str | None:
    """Return when the process started: the id of the machine's boot, and the clock ticks since then."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in _ENDED else f"{boot} {fields[_START_TIME]}"


def start_time_from_ps(pid: int) -> str | None:
    """Return when the process started, to the second, as `ps` writes it: for systems without /proc."""
    command = ("ps", "-o", "stat=,lstart=", "-p", str(pid))
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    state, _, started = output.strip().partition(" ")
    return started.strip() if state and state[0] not in _ENDED else None
