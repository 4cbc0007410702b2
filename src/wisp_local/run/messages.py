"""What the command's side and the attendant say to each other: one JSON object each way, over a socket of their own."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.run.wanted import Authority, LocalCloud, RealAuthority
from wisp_local.sandbox.modes import Attempt, Mode


@dataclass(frozen=True)
class Request:
    """Serve tokens of `authority`, in namespaces where `namespaces` says how they were made."""

    authority: Authority
    namespaces: Attempt | None = None


@dataclass(frozen=True)
class Ready:
    """The sidecar answers on loopback's `port` to whoever shows `header` (None: to all in its network)."""

    port: int
    client_id: str
    header: Secret | None


@dataclass(frozen=True)
class Impossible:
    """There can be no namespaces, because of `why`."""

    why: str


@dataclass(frozen=True)
class Failed:
    """Something could not be started; `status` is the exit status that goes with it."""

    problem: str
    hint: str
    status: int


Answer = Ready | Impossible | Failed
_AUTHORITIES: dict[str, type[Authority]] = {each.__name__: each for each in (LocalCloud, RealAuthority)}
_ANSWERS: dict[str, type[Answer]] = {each.__name__: each for each in (Ready, Impossible, Failed)}
_PATHS = ("state", "token_file", "ca")


def write_request(request: Request) -> bytes:
    """Write a request; it holds nothing secret."""
    way = request.namespaces
    document = {
        "kind": type(request.authority).__name__,
        "authority": {name: _plain(value) for name, value in asdict(request.authority).items()},
        "namespaces": way and {"mode": way.mode.value, "several_users": way.several_users},
    }
    return json.dumps(document).encode()


def parse_request(text: bytes) -> Request:
    """Read what `write_request` wrote."""
    document = json.loads(text)
    values = {name: _path(name, value) for name, value in document["authority"].items()}
    way = document["namespaces"]
    namespaces = way and Attempt(Mode(way["mode"]), several_users=way["several_users"])
    return Request(_AUTHORITIES[document["kind"]](**values), namespaces)


def write_answer(answer: Answer) -> bytes:
    """Write an answer as one line; what is secret in it is written as it is, for the socket between the two."""
    values = {each.name: _plain(getattr(answer, each.name)) for each in fields(answer)}
    return json.dumps({"kind": type(answer).__name__, **values}).encode() + b"\n"


def parse_answer(line: bytes) -> Answer:
    """Read what `write_answer` wrote; raises WispError, which says nothing of its content, for anything else."""
    try:
        values: dict[str, Any] = json.loads(line)
        kind = _ANSWERS[values.pop("kind")]
        if values.get("header") is not None:
            values["header"] = Secret(values["header"])
        return kind(**values)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise WispError("wisp run's two processes do not understand each other", hint="report it") from None


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    return str(value) if isinstance(value, Path) else value


def _path(name: str, value: Any) -> Any:
    return Path(value) if name in _PATHS and value is not None else value
