"""What the inside tells the outside, one JSON object a line; knows the form and not the meaning."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from wisp.base.errors import WispError
from wisp.base.secret import Secret


@dataclass(frozen=True)
class Ready:
    """The scene is set: this attempt is the one."""


@dataclass(frozen=True)
class Impossible:
    """The scene cannot be set, because of `why`."""

    why: str


@dataclass(frozen=True)
class Begun:
    """The step called `step` begins."""

    step: str


@dataclass(frozen=True)
class Done:
    """It ended well, after `seconds`; `here` is what there is to say about it on this machine, line by line."""

    step: str
    seconds: float
    here: list[str]


@dataclass(frozen=True)
class Failed:
    """It failed, which ends the story; `log` is the end of what its parts said, `status` the command's exit status."""

    step: str
    problem: str
    hint: str
    log: list[str]
    status: int


@dataclass(frozen=True)
class Finished:
    """The story is told: the token that the application got, and what it says, verified."""

    access_token: Secret
    header: Mapping[str, object]
    claims: Mapping[str, object]


Event = Ready | Impossible | Begun | Done | Failed | Finished
_KINDS: dict[str, type[Event]] = {each.__name__: each for each in (Ready, Impossible, Begun, Done, Failed, Finished)}


def write(event: Event) -> bytes:
    """Write `event` as one line; what is secret in it is written as it is, for the pipe between the two processes."""
    values = {each.name: _plain(getattr(event, each.name)) for each in fields(event)}
    return json.dumps({"event": type(event).__name__, **values}).encode() + b"\n"


def parse(line: bytes) -> Event:
    """Read a line that `write` wrote; raises WispError, which says nothing of its content, for any other."""
    try:
        values = json.loads(line)
        kind = _KINDS[values.pop("event")]
        if "access_token" in values:
            values["access_token"] = Secret(values["access_token"])
        return kind(**values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise WispError("the lab's two halves do not understand each other", hint="report it: wisp is wrong") from None


def _plain(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value
