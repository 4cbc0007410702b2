"""The command's side of the demo, with scripted processes."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from wisp.base.errors import PrivilegeError, WispError
from wisp.base.secret import Secret
from wisp_local.demo.command import DemoResult, Inside, run_demo
from wisp_local.demo.events import Event, Finished, Impossible, Ready, StepDone, StepFailed, StepStarted, write
from wisp_local.demo.steps import Step
from wisp_local.sandbox.modes import TOOLS, Attempt, Mode
from wisp_local.sandbox.processes import ComponentError

SINGLE = Attempt(Mode.USERNS, several_users=False)


LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)


FINISHED = Finished(Secret("eyJ"), {"alg": "RS256"}, {"aud": "x"})


GOOD = (Ready(), StepStarted("pod"), StepDone("pod", 0.5, ["a"]), FINISHED)


class Recorder:
    """A narrator that writes down what it is to tell."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    def ready(self, description: Sequence[str]) -> None:
        """Write it down."""
        self.shown.append("\n".join(description))

    def step_started(self, step: Step) -> None:
        """Write it down."""
        self.shown.append(step.name)

    def step_done(self, step: Step, seconds: float, lines: list[str]) -> None:
        """Write it down."""
        self.shown.append((step.name, seconds, lines))


class Script:
    """Launches insides that tell the given events and end with the given complaint."""

    def __init__(self, events: Mapping[Attempt, tuple[Event, ...]], errors: bytes = b"") -> None:
        self.events = events
        self.errors = errors
        self.running = 0

    @contextlib.contextmanager
    def __call__(self, attempt: Attempt) -> Iterator[Inside]:
        """Launch one; count those that run."""
        self.running += 1
        try:
            yield Inside(io.BytesIO(b"".join(map(write, self.events[attempt]))), io.BytesIO(self.errors))
        finally:
            self.running -= 1


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> str:
    """Make a PATH with everything that a pod needs."""
    for tool in TOOLS:
        (tmp_path / tool).touch(0o755)
    return str(tmp_path)


def test_steps_are_shown_and_the_result_returned(path: str) -> None:
    output, script = Recorder(), Script({LOOPBACK: GOOD})
    result = run_demo((LOOPBACK,), output, script, path)
    assert result == DemoResult(Mode.LOOPBACK, Secret("eyJ"), {"alg": "RS256"}, {"aud": "x"}, (("pod", 0.5),))
    assert output.shown[1:] == ["pod", ("pod", 0.5, ["a"])]
    assert script.running == 0


@pytest.mark.parametrize(
    "events, errors, why",
    [
        pytest.param((Impossible("no veth"),), b"", "no veth", id="reported-by-the-inside"),
        pytest.param((), b"unshare: unshare failed: No\n\n", "unshare: unshare failed: No", id="reported-by-unshare"),
        pytest.param((), b"", "it ended without a message", id="not-reported"),
    ],
)
def test_impossible_mode_is_followed_by_the_next_with_its_reason(
    events: tuple[Event, ...], errors: bytes, why: str, path: str
) -> None:
    output = Recorder()
    result = run_demo((SINGLE, LOOPBACK), output, Script({SINGLE: events, LOOPBACK: GOOD}, errors), path)
    assert result.mode is Mode.LOOPBACK
    assert str(output.shown[0]).startswith("Mode loopback: ")
    assert f"because: {why}\n" in str(output.shown[0])


def test_mode_without_its_tools_is_not_launched(path: str) -> None:
    (Path(path) / "ip").unlink()
    output = Recorder()
    run_demo((SINGLE, LOOPBACK), output, Script({LOOPBACK: GOOD}), path)
    assert str(output.shown[0]).endswith("because: not installed: ip\n  to get mode userns: apt-get install iproute2")


def test_error_when_no_mode_works_has_the_reason(path: str) -> None:
    with pytest.raises(PrivilegeError, match=r"mode userns is not possible here \(no veth\)"):
        run_demo((SINGLE,), Recorder(), Script({SINGLE: (Impossible("no veth"),)}), path)


def test_failed_step_ends_the_demo(path: str) -> None:
    failed = StepFailed("curl", "no token", "look", ["a log"], 3)
    script = Script({SINGLE: (Ready(), StepStarted("curl"), failed)})
    with pytest.raises(ComponentError, match="step curl failed: no token: look") as error:
        run_demo((SINGLE, LOOPBACK), Recorder(), script, path)
    assert (error.value.log, error.value.exit_status) == (("a log",), 3)
    assert script.running == 0


def test_inside_that_ends_early_is_an_error(path: str) -> None:
    script = Script({SINGLE: (Ready(), StepStarted("curl"))}, b"Traceback\nKilled\n")
    with pytest.raises(WispError, match=r"the demo ended early \(Killed\)"):
        run_demo((SINGLE, LOOPBACK), Recorder(), script, path)
