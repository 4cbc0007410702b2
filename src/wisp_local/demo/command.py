"""The command's side of the demo: tries the possible modes, best first, and follows the process that runs the steps.

Three things end that process: its standard input, which ends with this process; the signal that the kernel sends to
`unshare` when its parent dies; and the signal that it sends to the child of `unshare` when that dies. This child is the
first process of its PID namespace: when it ends, the kernel ends all others, and removes network, mounts and memory.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol, assert_never

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.demo.events import Finished, Impossible, Ready, StepDone, StepFailed, StepStarted, parse
from wisp_local.demo.steps import Step, step_named
from wisp_local.sandbox.interpreter import in_place, this_interpreter
from wisp_local.sandbox.modes import Attempt, FailedAttempt, Mode, describe, failed_attempt, impossible_error
from wisp_local.sandbox.namespaces import find_missing_tools, isolated
from wisp_local.sandbox.processes import ComponentError, ProcessContext, spawn

_GRACE = 10  # seconds for the process to end after its standard input


@dataclass(frozen=True)
class Inside:
    """The started process: its events, line by line, and its standard error."""

    lines: IO[bytes]
    errors: IO[bytes]

    def last_error(self) -> str:
        """Return the last line of its standard error: the reason why `unshare` or Python ended."""
        lines = self.errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a message")


Launch = Callable[[Attempt], AbstractContextManager[Inside]]


@contextlib.contextmanager
def launch(attempt: Attempt, environment: Mapping[str, str]) -> Iterator[Inside]:
    """Start the process for `attempt`. When the block is left, it has ended and everything it made is removed."""
    image = in_place(this_interpreter())
    users = "several" if attempt.several_users else "one"
    with contextlib.ExitStack() as stack:
        folder = "-"
        if attempt.mode is Mode.LOOPBACK:  # the others have file systems in memory
            temporary = tempfile.TemporaryDirectory(prefix="wisp-demo-", ignore_cleanup_errors=True)
            folder = stack.enter_context(temporary)
        context = ProcessContext(isolated(attempt), {**environment, **image.environment})
        command = (image.python, "-m", "wisp_local.demo.inside", attempt.mode.value, users, folder)
        process = stack.enter_context(spawn(context, *command, stdin=subprocess.PIPE, stderr=subprocess.PIPE))
        assert process.stdin is not None  # noqa: S101 -- all three are pipes
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        try:
            yield Inside(process.stdout, process.stderr)
        finally:
            try:
                process.stdin.close()
                process.wait(_GRACE)
            except BaseException:
                process.kill()
                raise


class Output(Protocol):
    """Shows the demo while it runs."""

    def ready(self, description: Sequence[str]) -> None:
        """Show the mode, described line by line."""
        ...

    def step_started(self, step: Step) -> None:
        """Show that a step starts."""
        ...

    def step_done(self, step: Step, seconds: float, lines: list[str]) -> None:
        """Show what a step did on this machine."""
        ...


@dataclass(frozen=True)
class DemoResult:
    """A completed demo. `steps` are names and seconds."""

    mode: Mode
    access_token: Secret
    header: Mapping[str, object]
    claims: Mapping[str, object]
    steps: tuple[tuple[str, float], ...]


def run_demo(attempts: tuple[Attempt, ...], output: Output, launch: Launch, path: str) -> DemoResult:
    """Run the demo in the first mode that works with the tools on `path`. Raise WispError if it fails."""
    failed: tuple[FailedAttempt, ...] = ()
    for attempt in attempts:
        outcome = find_missing_tools(attempt, path) or _try(attempt, failed, output, launch)
        if isinstance(outcome, DemoResult):
            return outcome
        failed = (*failed, outcome)
    raise impossible_error(failed)


def _try(
    attempt: Attempt, failed: tuple[FailedAttempt, ...], output: Output, launch: Launch
) -> DemoResult | FailedAttempt:
    durations: list[tuple[str, float]] = []
    ready = False
    with launch(attempt) as inside:
        for line in inside.lines:
            match parse(line):
                case Ready():
                    ready = True
                    output.ready(describe(attempt, failed))
                case Impossible(reason):
                    return failed_attempt(attempt, reason)
                case StepStarted(name):
                    output.step_started(step_named(name))
                case StepDone(name, seconds, lines):
                    durations.append((name, seconds))
                    output.step_done(step_named(name), seconds, lines)
                case StepFailed() as step:
                    problem = f"step {step.step} failed: {step.problem}"
                    error = ComponentError(problem, hint=step.hint, log=tuple(step.log))
                    error.exit_status = step.status
                    raise error
                case Finished(token, header, claims):
                    return DemoResult(attempt.mode, token, header, claims, tuple(durations))
                case other:
                    assert_never(other)
        reason = inside.last_error()
    if ready:
        raise WispError(f"the demo ended early ({reason})", hint="run it again; if it fails again, report it")
    return failed_attempt(attempt, reason)
