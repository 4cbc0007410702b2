"""The record of a lab: its settings and its running cloud. Decides what options change, and what is wrong with a lab.

Knows no file and no process.
"""

import json
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, ValidationError, convert, field, to_builtins
from msgspec.structs import replace

from wisp.base.errors import SettingError, WispError

DEFAULT_PORT = 8443
LOOPBACK = "127.0.0.1"
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- recognised, not bound
_VERSION = 1


class AttachedCluster(Struct, frozen=True, forbid_unknown_fields=True):
    """What is attached to the managed clusters: the user's `kubeconfig`, the lab's `own` cluster, or nothing."""

    kubeconfig: str | None = None
    own: bool = False

    @property
    def kind(self) -> str:
        """The kind in `wisp lab status`: `none`, `kubeconfig` or `cluster`."""
        if self.own:
            return "cluster"
        return "none" if self.kubeconfig is None else "kubeconfig"


NO_CLUSTER = AttachedCluster()


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a lab, which stay until an option changes them.

    The cloud listens on `hosts` in addition to loopback; other machines and pods reach it by `advertise`. `image` is
    the name of wisp's image in the manifest. `image_archive` contains that image and `load` are archives of further
    images, both for the lab's own cluster. `gateway`: the manifest has the token gateway, besides the webhook.
    """

    hosts: tuple[str, ...] = ()
    port: int = DEFAULT_PORT
    advertise: tuple[str, ...] = ()
    cluster: AttachedCluster = field(default=NO_CLUSTER, name="behind")
    image: str | None = None
    image_archive: str | None = None
    load: tuple[str, ...] = ()
    gateway: bool = False

    @property
    def has_gateway(self) -> bool:
        """Whether the manifest has a gateway, which needs a cluster."""
        return self.gateway and self.cluster != NO_CLUSTER


@dataclass(frozen=True)
class UpOptions:
    """The options of `wisp lab up`; None and empty change nothing."""

    hosts: tuple[str, ...] = ()
    port: int | None = None
    advertise: tuple[str, ...] = ()
    cluster: AttachedCluster | None = None
    image: str | None = None
    image_archive: str | None = None
    load: tuple[str, ...] = ()
    gateway: bool | None = None


class ListenOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a cloud listens, `hosts` and `port`, and the names that it advertises."""

    hosts: tuple[str, ...]
    port: int
    advertise: tuple[str, ...]


class CloudProcess(Struct, frozen=True, forbid_unknown_fields=True):
    """A cloud that was started: its process, the time (Unix seconds), and its options.

    `started` identifies the process together with `pid`. `url` is the advertised URL, empty until the cloud listens;
    `page` is the URL of its web page.
    """

    pid: int
    started: str
    since: float
    listening: ListenOptions
    url: str = ""
    page: str | None = None


class Record(Struct, frozen=True):
    """A lab's settings, and the cloud that was started and not stopped."""

    settings: Settings = field(name="wanted")
    cloud: CloudProcess | None


@dataclass(frozen=True)
class Observation:
    """What is known about a lab.

    `is_running` and `answers` are about its cloud, `identities` and `clusters` are the numbers of its resources.
    `cluster_problem` says what is wrong with an attached API server.
    """

    record: Record | None
    identities: int = 0
    clusters: int = 0
    is_running: bool = False
    answers: bool = False
    cluster_problem: str | None = None

    @property
    def cloud(self) -> CloudProcess | None:
        """The running cloud."""
        return self.record.cloud if self.record is not None and self.is_running else None


def apply_options(settings: Settings, options: UpOptions) -> Settings:
    """Return the settings with what the options change. Raise SettingError for a gateway without a cluster."""
    changes = {name: value for name, value in vars(options).items() if value not in (None, ())}
    changed = replace(settings, **changes)
    if options.gateway and changed.cluster == NO_CLUSTER:
        raise SettingError("the gateway needs a cluster", hint="add --cluster or --kubeconfig FILE")
    return changed


def listen_options(settings: Settings, node_host: str | None = None) -> ListenOptions:
    """Decide where the cloud listens. `node_host` is the address at which the lab's own cluster reaches this machine.

    Other machines and pods cannot use loopback: they use the advertised names, or the addresses that are not loopback.
    """
    node_hosts = (node_host,) if node_host else ()
    extra = (*settings.hosts, *node_hosts)
    any_address = tuple(host for host in extra if host in _ANY_ADDRESS)
    specific = dict.fromkeys(host for host in extra if host not in (*_ANY_ADDRESS, LOOPBACK))
    names = (*node_hosts, *(settings.advertise or settings.hosts))
    advertise = dict.fromkeys(name for name in names if name not in (*_ANY_ADDRESS, LOOPBACK))
    return ListenOptions(any_address[:1] or (LOOPBACK, *specific), settings.port, tuple(advertise))


def require_same_listener(running: ListenOptions, wanted: ListenOptions) -> None:
    """Raise WispError if a running cloud would have to listen elsewhere. Port 0 is any port."""
    if replace(wanted, port=wanted.port or running.port) != running:
        raise WispError(
            f"the lab runs, and listens on port {running.port} of {' and '.join(running.hosts)}",
            hint="`wisp lab down` first: it cannot listen elsewhere while it runs",
        )


def encode_record(record: Record) -> str:
    """Write a record as JSON."""
    return json.dumps({"version": _VERSION, **to_builtins(record)}, indent=2) + "\n"


def decode_record(text: str, path: str) -> Record:
    """Read what `encode_record` wrote to the file `path`. Raise SettingError."""
    try:
        document: Any = json.loads(text)
        version = document["version"]
        if version != _VERSION:
            problem = f"{path} was written by another version of wisp ({version!a:.20})"
            raise SettingError(problem, hint="use that version, or name another folder: --lab FOLDER")
        return convert(document, Record)
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        problem = f"{path} was not written by `wisp lab`"
        raise SettingError(problem, hint="name another folder: --lab FOLDER") from error


def problems(observation: Observation) -> list[str]:
    """Return what is wrong with a lab, a line each with what to do; nothing if everything runs that should."""
    if observation.record is None:
        return ["there is no lab here: `wisp lab up` creates one"]
    cloud = observation.record.cloud
    if cloud is None:
        return ["the lab is down: `wisp lab up` starts it again with its data"]
    if not observation.is_running:
        problem = f"the local cloud (process {cloud.pid}) has ended by itself"
        return [f"{problem}: `wisp lab up` starts it again with its data"]
    found = []
    if not observation.answers:
        found.append(f"the local cloud (process {cloud.pid}) runs but does not answer: `wisp lab down`, `wisp lab up`")
    if observation.cluster_problem is not None:
        found.append(observation.cluster_problem)
    return found
