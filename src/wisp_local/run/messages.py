"""Messages between the command's side and the attendant: one JSON object in each direction, over a socket."""

from pathlib import Path
from typing import Any

import msgspec

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.run.options import LocalCloud, RealAuthority
from wisp_local.sandbox.modes import Attempt


class Request(msgspec.Struct, frozen=True):
    """Serve tokens of `authority`. `namespaces` is how the attendant's namespaces were made, if it has its own."""

    authority: LocalCloud | RealAuthority
    namespaces: Attempt | None = None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The sidecar listens on `port` of loopback. Clients must send `header`, unless it is None."""

    port: int
    client_id: str
    header: Secret | None


class Impossible(msgspec.Struct, frozen=True, tag=True):
    """The namespaces cannot be set up."""

    reason: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A component could not be started; `status` is the exit status for this error."""

    problem: str
    hint: str
    status: int


Answer = Ready | Impossible | Failed


def encode(message: Request | Answer) -> bytes:
    """Return a message as one line. The header is written as it is, for the socket between the two processes."""
    return msgspec.json.encode(message, enc_hook=_encode) + b"\n"


def parse_request(line: bytes) -> Request:
    """Parse an encoded request."""
    return msgspec.json.decode(line, type=Request, dec_hook=_decode)


def parse_answer(line: bytes) -> Answer:
    """Parse an encoded answer. Raise WispError, which does not contain the line, for anything else."""
    try:
        return msgspec.json.decode(line, type=Answer, dec_hook=_decode)  # type: ignore[no-any-return]  # a union
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = "the two processes of wisp run do not understand each other"
        raise WispError(problem, hint="report it: this is a bug in wisp") from None


def _encode(value: object) -> object:
    match value:
        case Secret():
            return value.reveal()
        case Path():
            return str(value)
        case _:
            raise NotImplementedError


def _decode(kind: type, value: Any) -> object:
    return kind(value)
