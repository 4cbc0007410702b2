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

from wisp_local.lab.node.network import Network, template_values

PAUSE_IMAGE = "wisp.test/pause:1"
"""The image of the container that holds a pod's namespaces."""
_TEMPLATES = Path(__file__).parent / "files"
_FILES = (
    *("programs.toml", "containerd.toml", "cni/wisp.conflist", "kubelet.yaml"),
    *("rules.nft", "Corefile", "resolv.conf", "objects.yaml"),
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
        self.plan = folder / "programs.toml"  # what the first process starts
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


def config_files(layout: Layout, network: Network, values: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every file by its path in the node's folder.

    `values` are those that depend on this machine: `etcd`, `containerd` and `runtime` are paths of programs,
    `kubernetes` and `coredns` folders of programs. `snapshotter` is `overlayfs`, or `native` where overlays cannot be
    stacked; `machine_addresses` are IPv4 addresses. Pods run below `cgroup`, and `issuer_url` issues their tokens.
    """
    values = {
        **values,
        **template_values(network),
        "folder": str(layout.folder),
        "containerd_socket": str(layout.containerd_socket),
        "pause_image": PAUSE_IMAGE,
    }
    files = {name: _render(name, values) for name in _FILES}
    return files | {f"{name}.conf": _render("kubeconfig.yaml", {**values, "user": name}) for name in _COMPONENTS}


def _render(template: str, values: Mapping[str, str]) -> str:
    """Fill in a template whose values are in double quotes, with the escapes that JSON, YAML and TOML share."""
    quoted = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(quoted)


def parse_plan(text: str) -> Plan:
    """Read the node's programs from the text of `programs.toml`."""

    def program(table: Mapping[str, Any]) -> Program:
        return Program(table["name"], tuple(table["command"]), table.get("needs_api", False))

    document = tomllib.loads(text)
    return Plan(tuple(program(table) for table in document["programs"]), program(document["first"]))
