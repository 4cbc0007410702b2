"""Events that the demo's process in the namespaces sends to the command, one JSON object a line."""

from typing import Any

import msgspec

from wisp.base.errors import WispError
from wisp.base.secret import Secret


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The stage is set up: this attempt is the one to use."""


class Impossible(msgspec.Struct, frozen=True, tag=True):
    """The stage cannot be set up."""

    reason: str


class StepStarted(msgspec.Struct, frozen=True, tag=True):
    """A step starts."""

    step: str


class StepDone(msgspec.Struct, frozen=True, tag=True):
    """A step succeeded after `seconds`; `lines` describe what it did on this machine."""

    step: str
    seconds: float
    lines: list[str]


class StepFailed(msgspec.Struct, frozen=True, tag=True):
    """A step failed, which ends the demo. `log` is the end of the logs, `status` the command's exit status."""

    step: str
    problem: str
    hint: str
    log: list[str]
    status: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    """All steps succeeded: the application's access token, and its verified content."""

    access_token: Secret
    header: dict[str, Any]
    claims: dict[str, Any]


Event = Ready | Impossible | StepStarted | StepDone | StepFailed | Finished


def write(event: Event) -> bytes:
    """Return `event` as one line. Secrets are written as they are, for the pipe between the two processes."""
    return _ENCODER.encode(event) + b"\n"


def parse(line: bytes) -> Event:
    """Parse a line that `write` returned. Raise WispError, which does not contain the line."""
    try:
        return _DECODER.decode(line)  # type: ignore[no-any-return]  # a union
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = "the demo's two processes do not understand each other"
        raise WispError(problem, hint="report it: this is a bug in wisp") from None


def _encode(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


def _decode(kind: type, value: Any) -> object:
    return kind(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_encode)
_DECODER = msgspec.json.Decoder(Event, dec_hook=_decode)
