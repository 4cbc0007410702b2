"""What a lab keeps in writing: what is wanted of it and what runs. Decides what a command line changes of it.

Knows no file and no process.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from wisp.base.errors import SettingError, WispError

DEFAULT_PORT = 8443
LOOPBACK = "127.0.0.1"
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 -- recognised, not bound
_VERSION = 1


@dataclass(frozen=True)
class Behind:
    """What is behind the managed clusters: a kubeconfig of the user's own, a cluster of the lab's own, or nothing."""

    kubeconfig: str | None = None
    own: bool = False


NOTHING = Behind()


@dataclass(frozen=True)
class Wanted:
    """What a lab is to be: where its cloud listens, what clients elsewhere call it, what is behind its clusters.

    It listens on `hosts` besides loopback. `image` is the one that the webhook's manifest names; `image_archive` has it
    for the lab's own cluster, `load` are archives of more images for that.
    """

    hosts: tuple[str, ...] = ()
    port: int = DEFAULT_PORT
    advertise: tuple[str, ...] = ()
    behind: Behind = NOTHING
    image: str | None = None
    image_archive: str | None = None
    load: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a command line asks for; None and empty leave it as it was."""

    hosts: tuple[str, ...] = ()
    port: int | None = None
    advertise: tuple[str, ...] = ()
    behind: Behind | None = None
    image: str | None = None
    image_archive: str | None = None
    load: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listening:
    """How a cloud was told to listen: `hosts` and `port`, and the names that it `advertise`s."""

    hosts: tuple[str, ...]
    port: int
    advertise: tuple[str, ...]


@dataclass(frozen=True)
class Cloud:
    """A cloud that was started: its process (as `wisp_local.sandbox.lasting` has it), when (Unix seconds), and how.

    `url` is what clients elsewhere call it, empty until it listened; `page` is that of its web page.
    """

    pid: int
    started: str
    since: float
    listening: Listening
    url: str = ""
    page: str | None = None


@dataclass(frozen=True)
class Record:
    """What is wanted, and the cloud that was started and not ended."""

    wanted: Wanted
    cloud: Cloud | None = None


def changed(wanted: Wanted, asked: Asked) -> Wanted:
    """Return what is wanted now: what is asked for, and of the rest what was wanted before."""
    return Wanted(
        hosts=asked.hosts or wanted.hosts,
        port=wanted.port if asked.port is None else asked.port,
        advertise=asked.advertise or wanted.advertise,
        behind=wanted.behind if asked.behind is None else asked.behind,
        image=asked.image or wanted.image,
        image_archive=asked.image_archive or wanted.image_archive,
        load=asked.load or wanted.load,
    )


def listening(wanted: Wanted, node_side: str | None = None) -> Listening:
    """Decide how the cloud listens; `node_side` is this machine's address where the lab's own cluster finds it.

    Clients elsewhere cannot use loopback: they call the cloud what the user says, else by where it listens for them.
    """
    further = (*wanted.hosts, *((node_side,) if node_side else ()))
    anywhere = tuple(each for each in further if each in _ANYWHERE)
    elsewhere = tuple(each for each in further if each not in (*_ANYWHERE, LOOPBACK))
    names = (*((node_side,) if node_side else ()), *(wanted.advertise or wanted.hosts))
    advertise = tuple(dict.fromkeys(each for each in names if each not in (*_ANYWHERE, LOOPBACK)))
    return Listening(anywhere[:1] or (LOOPBACK, *dict.fromkeys(elsewhere)), wanted.port, advertise)


def must_be_as_it_runs(running: Listening, wanted: Listening) -> None:
    """Raise `WispError` where a cloud that runs would have to listen otherwise; port 0 is any."""
    if replace(wanted, port=wanted.port or running.port) != running:
        raise WispError(
            f"the lab runs, and listens on port {running.port} of {' and '.join(running.hosts)}",
            hint="`wisp lab down` first: it cannot listen elsewhere while it runs",
        )


def written(record: Record) -> str:
    """Write it as JSON, for `parsed` and for people."""
    return json.dumps({"version": _VERSION, **asdict(record)}, indent=2) + "\n"


def parsed(text: str, name: str) -> Record:
    """Read what `written` wrote into the file called `name`; raises `SettingError`."""
    try:
        document = json.loads(text)
        version = document["version"]
        if version != _VERSION:
            problem = f"{name} was written by another version of wisp ({version!a:.20})"
            raise SettingError(problem, hint="use that one, or name another folder: --lab FOLDER")
        return _record(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"{name} is not what `wisp lab` wrote"
        raise SettingError(problem, hint="name another folder: --lab FOLDER") from error


def _record(document: Any) -> Record:  # the one place where its shape is not known yet
    wanted, cloud = document["wanted"], document["cloud"]
    parts = {**wanted, **_tuples(wanted), "behind": Behind(**wanted["behind"])}
    return Record(Wanted(**parts), None if cloud is None else _cloud(cloud))


def _cloud(document: Any) -> Cloud:
    how = document["listening"]
    return Cloud(**{**document, "listening": Listening(**{**how, **_tuples(how)})})


def _tuples(document: Any) -> dict[str, tuple[str, ...]]:
    return {name: tuple(document[name]) for name in ("hosts", "advertise", "load") if name in document}
