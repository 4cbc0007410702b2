"""Files and programs of a node, from the templates in `files/`: what is configured how, and what is started.

Nothing is written or started here.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from wisp_local.lab.node.network import (
    API_PORT,
    DEVICE,
    DNS_DOMAIN,
    DNS_READY_PORT,
    DNS_SERVICE,
    DNS_USER,
    NODE,
    POD_RANGE,
    SERVICE_RANGE,
    Network,
)

PAUSE_IMAGE = "wisp.test/pause:1"
"""The image of the container that holds a pod's namespaces."""
_TEMPLATES = Path(__file__).parent / "files"
_FILES = (
    "containerd.toml",
    "cni/wisp.conflist",
    "kubelet.yaml",
    "rules.nft",
    "Corefile",
    "resolv.conf",
    "objects.yaml",
)
_COMPONENTS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns")
"""Who has a kubeconfig, with the certificate of the same name (`wisp_local.lab.node.pki`)."""


class Layout:
    """The paths in a node's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = folder / "pki"  # keys and certificates
        self.logs = folder / "log"  # one log per program
        self.process = folder / "process.json"  # the node's first process: all others end with it
        self.plan = folder / "programs.json"  # what the first process starts
        self.containerd_socket = folder / "containerd.sock"
        self.cni = folder / "cni"
        self.pod_logs = folder / "pod-logs"
        self.rules = folder / "rules.nft"

    def kubeconfig(self, component: str) -> Path:
        """Return the path of a component's kubeconfig; `admin` is the administrator."""
        return self.folder / f"{component}.conf"


@dataclass(frozen=True)
class Binaries:
    """The folders of the programs that are built from source: those of Kubernetes, and CoreDNS."""

    kubernetes: Path
    coredns: Path

    @property
    def kubectl(self) -> Path:
        """The command-line client, in the node's version."""
        return self.kubernetes / "kubectl"


@dataclass(frozen=True)
class Machine:
    """What a node uses of this machine: paths of programs, a snapshotter of containerd, and the IPv4 addresses.

    `snapshotter` is `overlayfs`, or `native` where overlays cannot be stacked.
    """

    binaries: Binaries
    etcd: str
    containerd: str
    runtime: str
    snapshotter: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A program that the node's first process runs and restarts.

    `needs_api`: it is started once the API server has answered.
    """

    name: str
    command: tuple[str, ...]
    needs_api: bool = False


@dataclass(frozen=True)
class Plan:
    """The programs of a node; `first` has to succeed before those that need the API server are started."""

    programs: tuple[Program, ...]
    first: Program


def template_values(
    layout: Layout, network: Network, *, machine: Machine, cgroup: str, issuer_url: str
) -> dict[str, str]:
    """Return the values of all templates. Pods run below `cgroup`; `issuer_url` issues service account tokens."""
    return {
        "folder": str(layout.folder),
        "containerd_socket": str(layout.containerd_socket),
        "node": network.node,
        "api_server": network.api_server,
        "api_port": str(API_PORT),
        "device": DEVICE,
        "node_name": NODE,
        "pod_range": POD_RANGE,
        "service_range": SERVICE_RANGE,
        "dns_service": DNS_SERVICE,
        "dns_domain": DNS_DOMAIN,
        "dns_ready_port": str(DNS_READY_PORT),
        "dns_user": DNS_USER,
        "kubernetes": str(machine.binaries.kubernetes),
        "coredns": str(machine.binaries.coredns),
        "etcd": machine.etcd,
        "containerd": machine.containerd,
        "runtime": machine.runtime,
        "snapshotter": machine.snapshotter,
        "machine_addresses": ", ".join(machine.addresses),
        "pause_image": PAUSE_IMAGE,
        "cgroup": cgroup,
        "issuer_url": issuer_url,
    }


def config_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every configuration file, by its path in the node's folder."""
    files = {name: _rendered(name, values) for name in _FILES}
    kubeconfigs = {f"{name}.conf": _rendered("kubeconfig.yaml", {**values, "user": name}) for name in _COMPONENTS}
    return files | kubeconfigs


def _rendered(template: str, values: Mapping[str, str]) -> str:
    """Fill in a template whose values are in double quotes, with the escapes that JSON, YAML and TOML share."""
    quoted = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(quoted)


def make_plan(values: Mapping[str, str]) -> Plan:
    """Return the node's programs with their command lines."""

    def program(table: Mapping[str, Any]) -> Program:
        command = tuple(Template(argument).substitute(values) for argument in table["command"])
        return Program(table["name"], command, table.get("needs_api", False))

    document = tomllib.loads((_TEMPLATES / "programs.toml").read_text(encoding="utf-8"))
    return Plan(tuple(program(table) for table in document["programs"]), program(document["first"]))


def encode_plan(plan: Plan) -> str:
    """Write a plan as JSON, for `decode_plan`."""
    programs = (*plan.programs, plan.first)
    return json.dumps([(program.name, program.command, program.needs_api) for program in programs])


def decode_plan(text: str) -> Plan:
    """Read what `encode_plan` wrote."""
    *programs, first = (Program(name, tuple(command), needs_api) for name, command, needs_api in json.loads(text))
    return Plan(tuple(programs), first)
