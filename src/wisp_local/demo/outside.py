"""The lab's outside: tries the ways there are, best first, and listens to the inside that works."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, assert_never

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.demo.events import Begun, Done, Failed, Finished, Impossible, Ready, parse
from wisp_local.demo.story import Step, step_called
from wisp_local.sandbox.launching import Inside
from wisp_local.sandbox.modes import TOOLS, Attempt, Lost, Mode, describe, impossible, refused, without_tools
from wisp_local.sandbox.processes import FailedError

Launch = Callable[[Attempt], AbstractContextManager[Inside]]


class Narrator(Protocol):
    """Who tells people what happens."""

    def opened(self, description: Sequence[str]) -> None:
        """Tell that the scene is set, and what it is made of, line by line."""
        ...

    def begun(self, step: Step) -> None:
        """Tell that a step begins."""
        ...

    def done(self, step: Step, seconds: float, here: list[str]) -> None:
        """Tell that it ended well, and what there is to say about it."""
        ...


@dataclass(frozen=True)
class Told:
    """A story told to its end; `steps` are names and seconds."""

    mode: Mode
    access_token: Secret
    header: Mapping[str, object]
    claims: Mapping[str, object]
    steps: tuple[tuple[str, float], ...]


def missing(attempt: Attempt, path: str) -> Lost | None:
    """Return the attempt as lost when it lacks tools on `path`."""
    return without_tools(attempt, [tool for tool in (*TOOLS, "iptables") if shutil.which(tool, path=path)])


def play(attempts: tuple[Attempt, ...], narrator: Narrator, launch: Launch, path: str) -> Told:
    """Play the story in the first way that works; raises WispError when a step fails or no way works."""
    lost: tuple[Lost, ...] = ()
    for attempt in attempts:
        outcome = missing(attempt, path) or _attempt(attempt, lost, narrator, launch)
        if isinstance(outcome, Told):
            return outcome
        lost = (*lost, outcome)
    raise impossible(lost)


def _attempt(attempt: Attempt, lost: tuple[Lost, ...], narrator: Narrator, launch: Launch) -> Told | Lost:
    """Return the story, or why it could not begin."""
    steps: list[tuple[str, float]] = []
    ready = False
    with launch(attempt) as inside:
        for line in inside.lines:
            match parse(line):
                case Ready():
                    ready = True
                    narrator.opened(describe(attempt, lost))
                case Impossible(why):
                    return refused(attempt, why)
                case Begun(name):
                    narrator.begun(step_called(name))
                case Done(name, seconds, here):
                    steps.append((name, seconds))
                    narrator.done(step_called(name), seconds, here)
                case Failed() as failed:
                    raise _error(failed)
                case Finished(token, header, claims):
                    return Told(attempt.mode, token, header, claims, tuple(steps))
                case other:
                    assert_never(other)
        why = inside.last_words()
    if ready:
        raise WispError(f"the lab ended in the middle ({why})", hint="run it again; if it does so again, report it")
    return refused(attempt, why)


def _error(failed: Failed) -> FailedError:
    problem = f"step {failed.step} failed: {failed.problem}"
    error = FailedError(problem, hint=failed.hint, log=tuple(failed.log))
    error.exit_status = failed.status
    return error
