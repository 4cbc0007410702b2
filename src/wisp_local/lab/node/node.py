"""A node, from outside: prepared, started, filled with images and stopped.

`prepare` makes its network: one end of a veth pair on this machine, the other in a namespace. `start` runs its first
process, in mount and PID namespaces; when that process ends for any reason, the whole node does. `stop` ends it.
"""

import contextlib
import os
import platform
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from wisp.base.errors import PrivilegeError, SettingError, ToolError
from wisp_local.lab.node import pki
from wisp_local.lab.node.binaries import PAUSE_PROGRAM
from wisp_local.lab.node.configuration import PAUSE_IMAGE, Binaries, Layout, config_files
from wisp_local.lab.node.images import Image, full_name, opened_archive, write_image, write_layer
from wisp_local.lab.node.network import DNS_READY_PORT, NODE, Network, host_batch, node_batch
from wisp_local.sandbox.interpreter import in_place, this_interpreter
from wisp_local.sandbox.namespaces import NetworkNamespace, addresses, ip_batch, new_namespace
from wisp_local.sandbox.processes import (
    END_WITH_PARENT,
    ProcessContext,
    ProcessIdentity,
    Result,
    find_process,
    open_log,
    run,
    spawn,
)

_START_TIMEOUT = 120  # seconds to become ready, on a slow machine
_DNS_TIMEOUT = 5  # seconds for CoreDNS to report whether it is ready
_STOP_TIMEOUT = 10  # seconds for the kernel to end everything
_PAUSE = 0.1  # seconds between two checks
_CGROUPS = Path("/sys/fs/cgroup")
_TOOLS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "crun": "crun",
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
"""The programs of a node besides Kubernetes, with their Debian packages."""
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's architecture, in Go's terms."""
PLATFORM = f"linux/{ARCHITECTURE}"


class Node:
    """Node `number` of this machine, in `folder`, with the programs `binaries`.

    `ends_with_parent`: the node ends with the process that starts it.
    """

    def __init__(self, folder: Path, binaries: Binaries, number: int = 0, *, ends_with_parent: bool = False) -> None:
        self.folder = folder
        self.binaries = binaries
        self.number = number
        self.layout = Layout(folder)
        self.network = Network(number)
        self.kubeconfig = self.layout.kubeconfig("admin")  # the administrator's
        self._ends_with_parent = ends_with_parent
        self._cgroup = f"wisp-node{number}"
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
        self._context = ProcessContext((), {**self._environment, "KUBECONFIG": str(self.kubeconfig)})

    def prepare(self) -> NetworkNamespace:
        """Make the network, and return the node's namespace. Raise PrivilegeError, SettingError or ToolError.

        The network ends with the node, or with this process if that does not start the node.
        """
        check_machine()
        self._remove_old_network()
        namespace = new_namespace()
        ip_batch(host_batch(self.network, namespace.path, str(self.folder)), (), namespace)
        ip_batch(node_batch(self.network), namespace.prefix, namespace)
        return namespace

    def start(self, namespace: NetworkNamespace, issuer_url: str, image: Path | None = None) -> None:
        """Start the node and return when it is ready and the archive `image` is loaded.

        Service account tokens are issued by `issuer_url`. Raises SettingError or ToolError.
        """
        self._write_files(issuer_url)
        make_cgroup(self._cgroup)
        inside = ProcessContext(namespace.prefix, self._context.environment, (namespace.descriptor,))
        done = run(inside, "nft", "-f", str(self.layout.rules))
        if done.status != 0:
            raise ToolError(f"nft failed ({done.errors.strip()})", hint="the kernel needs nf_tables")
        self._spawn(namespace).write(self.layout.process)
        self._wait("the container runtime", lambda: self.ctr("version").status == 0)
        self.load(self._pause_image())
        with ThreadPoolExecutor(max_workers=1) as pool:
            loading = None if image is None else pool.submit(self.load, image)
            self._wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz").status == 0)
            self._wait("the node", self._is_ready)
            self._wait("the service account", lambda: self.kubectl("get", "serviceaccount", "default").status == 0)
            self._wait("the cluster DNS", self._is_dns_ready)
            if loading is not None:
                loading.result()

    def load(self, archive: Path, label: str | None = None) -> list[str]:
        """Import an image archive, called `label` in messages. Return the names by which pods find the images.

        Raises SettingError if pods could not use an image of it, ToolError if containerd refuses it.
        """
        label = label or str(archive)
        with opened_archive(archive, PLATFORM, label) as (content, names):
            done = self._images("import", str(content))
        if done.status != 0:
            problem = f"{label} cannot be imported ({done.errors.strip()})"
            raise ToolError(problem, hint="save the image again: the archive may be incomplete")
        full_names = {name: full_name(name) for name in names}
        for name, full in full_names.items():
            if name != full and full not in self._images("list", "-q").output.reveal().split():
                self._images("tag", "--force", name, full)
        return list(full_names.values())

    def stop(self) -> None:
        """End the node and remove its folder, if there are any. Raise ToolError."""
        process = ProcessIdentity.read(self.layout.process)
        if process is not None and not process.stop(signal.SIGKILL, _STOP_TIMEOUT):
            problem = f"process {process.pid} did not end within {_STOP_TIMEOUT} s"
            raise ToolError(problem, hint="see why it cannot be killed")
        self._remove_network()
        remove_cgroup(self._cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_running(self) -> bool:
        """Tell whether it runs."""
        process = ProcessIdentity.read(self.layout.process)
        return process is not None and process.is_running()

    def kubectl(self, *arguments: str, timeout: float = 60) -> Result:
        """Run kubectl as the administrator."""
        return run(self._context, str(self.binaries.kubectl), *arguments, timeout=timeout)

    def ctr(self, *arguments: str) -> Result:
        """Run containerd's own client."""
        socket = str(self.layout.containerd_socket)
        return run(self._context, "ctr", "-a", socket, *arguments, timeout=_START_TIMEOUT)

    def _images(self, command: str, *arguments: str) -> Result:
        return self.ctr("-n", "k8s.io", "images", command, *arguments)

    def _write_files(self, issuer_url: str) -> None:
        layout = self.layout
        for folder in (self.folder, layout.pki, layout.logs, layout.cni, layout.pod_logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        values = {
            "kubernetes": str(self.binaries.kubernetes),
            "coredns": str(self.binaries.coredns),
            "etcd": shutil.which("etcd") or "etcd",
            "containerd": shutil.which("containerd") or "containerd",
            "runtime": shutil.which("crun") or "crun",
            "snapshotter": "overlayfs" if self._can_stack_overlays() else "native",
            "machine_addresses": ", ".join(addresses()),
            "cgroup": f"/{self._cgroup}",
            "issuer_url": issuer_url,
        }
        files = {path: text.encode() for path, text in config_files(layout, self.network, values).items()}
        files |= {f"pki/{name}": content for name, content in pki.new_files(self.network, time.time()).items()}
        for path, content in files.items():
            (self.folder / path).touch(0o600)
            (self.folder / path).write_bytes(content)

    def _spawn(self, namespace: NetworkNamespace) -> ProcessIdentity:
        interpreter = in_place(this_interpreter())
        dependent = END_WITH_PARENT if self._ends_with_parent else ()
        unshare = ("unshare", "--mount", "--propagation", "private", "--ipc", "--pid", "--mount-proc", "--fork")
        context = ProcessContext(
            (*dependent, *namespace.prefix, *unshare, "--kill-child", "--"),
            {**self._environment, **interpreter.environment},
            (namespace.descriptor,),
        )
        command = (interpreter.python, "-m", "wisp_local.lab.node.init", str(self.folder))
        with open_log(self.layout.logs / "node.log") as log:
            started = spawn(context, *command, stdout=log, stderr=log)
        process = find_process(started.pid)
        if process is None:
            raise ToolError("the node did not start", hint=f"see {self.layout.logs / 'node.log'}")
        started.returncode = 0  # it outlives this process, which does not wait for it
        os.close(namespace.descriptor)
        return process

    def _pause_image(self) -> Path:
        layer, archive = self.folder / "pause.layer.tar", self.folder / "pause.tar"
        write_layer(layer, [self.binaries.kubernetes / PAUSE_PROGRAM])
        write_image(archive, Image(PAUSE_IMAGE, layer, (f"/{PAUSE_PROGRAM}",)), ARCHITECTURE)
        return archive

    def _can_stack_overlays(self) -> bool:
        """Tell whether overlays can be mounted in the folder: not on an overlay, such as a container's root."""
        lower, upper, work, merged = (self.folder / "overlay" / name for name in ("lower", "upper", "work", "all"))
        for folder in (lower, upper, work, merged):
            folder.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount = ("mount", "-t", "overlay", "overlay", "-o", options, str(merged))
        return run(self._context, "unshare", "--mount", "--", *mount).status == 0

    def _is_ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", NODE, "-o", f"jsonpath={path}").output.reveal() == "True"

    def _is_dns_ready(self) -> bool:
        url = f"http://{self.network.node}:{DNS_READY_PORT}/ready"
        try:
            return urllib3.request("GET", url, retries=False, timeout=_DNS_TIMEOUT).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _wait(self, component: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                raise ToolError(f"{component} did not become ready", hint=f"see the logs in {self.layout.logs}")
            time.sleep(_PAUSE)

    def _remove_old_network(self) -> None:
        """Remove the network that an ended node has left. Raise SettingError if a running node has this number."""
        device = Path("/sys/class/net", self.network.device)
        if not device.exists():
            return
        owner = Path((device / "ifalias").read_text(encoding="utf-8").strip() or "/")
        process = ProcessIdentity.read(Layout(owner).process)
        if process is not None and process.is_running():
            problem = f"node number {self.number} of this machine is running in {owner}"
            raise SettingError(problem, hint="end it, or choose another number")
        self._remove_network()

    def _remove_network(self) -> None:
        """Remove the device now: the kernel would keep it for minutes, for connections that were cut off."""
        run(self._context, "ip", "link", "delete", self.network.device)


def check_machine() -> None:
    """Raise PrivilegeError or ToolError if this user or this machine cannot run a node."""
    if os.geteuid() != 0:
        raise PrivilegeError("a cluster on this machine needs root", hint="run it as root, or use --kubeconfig")
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise ToolError(f"there is no {tool} on PATH", hint=f"apt-get install {package}")


def cgroup_hierarchies(root: Path = _CGROUPS) -> list[Path]:
    """Return the roots of all hierarchies of cgroups(7): one in version 2, one for every controller in version 1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    folders = (path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(folder for folder in folders if folder.name != "unified")


def make_cgroup(name: str, root: Path = _CGROUPS) -> None:
    """Make the control group of a node's pods in every hierarchy. Raise OSError."""
    for parent in cgroup_hierarchies(root):
        group = parent / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # in version 1 empty at first: then it accepts no process
            if (parent / setting).exists() and not (parent / "cgroup.controllers").exists():
                (group / setting).write_text((parent / setting).read_text(encoding="ascii"), encoding="ascii")


def remove_cgroup(name: str, root: Path = _CGROUPS) -> None:
    """Remove a control group and all groups below it from every hierarchy, except those that still have processes."""
    for parent in cgroup_hierarchies(root):
        for folder, _, _ in os.walk(parent / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
