"""A node, from outside: prepared, started, filled with images and ended.

`prepare` makes its network: this machine's end of a veth pair, the other in a namespace. `start` makes its first
process, in mount and PID namespaces, with which all of the node ends, however it does. `stop` ends that.
"""

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import urllib3

from wisp.base.errors import PrivilegeError, SettingError, ToolError
from wisp_local.lab.node import cgroups, configs, dns, pki
from wisp_local.lab.node.archive import Image, write_image, write_layer
from wisp_local.lab.node.archived import plain, read_archive
from wisp_local.lab.node.binaries import PAUSE_PROGRAM
from wisp_local.lab.node.inside import Plan, write_plan
from wisp_local.lab.node.layout import Layout
from wisp_local.lab.node.network import NODE, Network, host_batch, node_batch, node_rules
from wisp_local.lab.node.programs import Binaries, Sources, first_objects, programs
from wisp_local.sandbox.image import in_place, this_interpreter
from wisp_local.sandbox.lasting import Lasting, keep, kept, lasting
from wisp_local.sandbox.netns import NetworkNamespace, addresses, ip_batch, new_namespace
from wisp_local.sandbox.processes import Outcome, Place, run
from wisp_local.sandbox.users import ends_with_parent

_START = 120  # seconds to become ready, on a slow machine
_ASK = 5  # seconds for CoreDNS to say whether it is ready
_STOP = 10  # seconds for the kernel to end everything
_PAUSE = 0.1
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
"""What a node is made of besides Kubernetes, and the Debian packages that have it."""
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's, as Go calls it."""
PLATFORM = f"linux/{ARCHITECTURE}"


@dataclass(frozen=True)
class Prepared:
    """A node's network: `host` is the address at which its pods find this machine."""

    host: str
    namespace: NetworkNamespace


@dataclass(frozen=True)
class Node:
    """The node number `number`, in the folder `folder`, made of the programs `binaries`.

    `tied`: it ends with the process that starts it.
    """

    folder: Path
    binaries: Binaries
    number: int = 0
    tied: bool = False

    @property
    def layout(self) -> Layout:
        """Where its files are."""
        return Layout(self.folder)

    @property
    def network(self) -> Network:
        """Where it is."""
        return Network(self.number)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's credentials."""
        return self.layout.kubeconfig("admin")

    def prepare(self) -> Prepared:
        """Make the network; it goes when the node does, or when this process ends without starting one.

        Raises PrivilegeError, SettingError or ToolError.
        """
        check_machine()
        self._make_way()
        namespace = new_namespace()
        ip_batch(host_batch(self.network, namespace.path, str(self.folder)), (), namespace)
        ip_batch(node_batch(self.network), namespace.prefix, namespace)
        return Prepared(self.network.host, namespace)

    def start(self, prepared: Prepared, issuer_url: str, image: Path | None = None) -> None:
        """Start the node and return when it is ready, with the `image` in it. Raises SettingError or ToolError.

        Service account tokens are `issuer_url`'s.
        """
        self._write_files(issuer_url)
        cgroups.make(self._cgroup)
        self._in_network(prepared, ("nft", "-f", str(self.folder / "rules.nft")))
        keep(self.layout.process, self._spawn(prepared))
        self._await("the container runtime", lambda: self.ctr("version").status == 0)
        self.load(self._pause_image())
        with ThreadPoolExecutor(max_workers=1) as meanwhile:
            loaded = None if image is None else meanwhile.submit(self.load, image)
            self._await_ready()
            if loaded is not None:
                loaded.result()

    def _await_ready(self) -> None:
        self._await("the API server", lambda: self.kubectl("get", "--raw", "/readyz").status == 0)
        self._await("the node", self._is_ready)
        self._await("the service account", lambda: self.kubectl("get", "serviceaccount", "default").status == 0)
        self._await("the cluster DNS", self._resolves)

    def load(self, archive: Path, shown: str | None = None) -> list[str]:
        """Import an image archive, called `shown` in messages. Return the names by which pods find the images.

        Raises SettingError if pods could not use an image of it, ToolError if containerd refuses it.
        """
        shown = shown or str(archive)
        with plain(archive, shown) as content:
            images = read_archive(content, PLATFORM, shown)
            done = self._images("import", str(content))
        if done.status != 0:
            problem = f"{shown} cannot be imported ({done.complaint.strip()})"
            raise ToolError(problem, hint="save the image again: the archive may be incomplete")
        for each in images:
            if each.name != each.full_name and each.full_name not in self._images("list", "-q").output.reveal().split():
                self._images("tag", "--force", each.name, each.full_name)
        return [each.full_name for each in images]

    def stop(self) -> None:
        """End all of it and remove its folder; nothing happens when there is nothing. Raises ToolError."""
        process = kept(self.layout.process)
        if process is not None and not process.end(signal.SIGKILL, _STOP):
            raise ToolError(f"process {process.pid} did not end within {_STOP} s", hint="see why it cannot be killed")
        self._unwire()
        cgroups.remove(self._cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_running(self) -> bool:
        """Tell whether it runs."""
        process = kept(self.layout.process)
        return process is not None and process.is_running()

    def kubectl(self, *arguments: str, timeout: float = 60) -> Outcome:
        """Run kubectl as the administrator."""
        return run(self._place, str(self.binaries.kubectl), *arguments, timeout=timeout)

    def ctr(self, *arguments: str) -> Outcome:
        """Run containerd's own client."""
        return run(self._place, "ctr", "-a", str(self.layout.containerd), *arguments, timeout=_START)

    def _images(self, command: str, *arguments: str) -> Outcome:
        return self.ctr("-n", "k8s.io", "images", command, *arguments)

    @property
    def _place(self) -> Place:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)}
        return Place((), {**environment, "KUBECONFIG": str(self.kubeconfig)})

    @property
    def _cgroup(self) -> str:
        return f"wisp-node{self.number}"

    def _write_files(self, issuer_url: str) -> None:
        layout, network = self.layout, self.network
        for folder in (self.folder, layout.pki, layout.logs, self.folder / "cni", self.folder / "pod-logs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in pki.new_files(network, time.time()).items():
            _write(layout.pki / name, content)
        for name in ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns"):
            _write(layout.kubeconfig(name), configs.kubeconfig(layout, network, name).encode())
        runtime = shutil.which("crun") or "crun"
        snapshotter = "overlayfs" if self._can_stack() else "native"
        texts = {
            "containerd.toml": configs.containerd(layout, runtime=runtime, snapshotter=snapshotter),
            "cni/wisp.conflist": configs.cni(layout),
            "kubelet.json": configs.kubelet(layout, f"/{self._cgroup}"),
            "rules.nft": node_rules(addresses()),
            "Corefile": dns.corefile(network),
            "resolv.conf": dns.resolv_conf(network),
            "objects.json": dns.objects(network),
        }
        for name, text in texts.items():
            _write(self.folder / name, text.encode())
        sources = Sources(self.binaries, shutil.which("etcd") or "etcd", shutil.which("containerd") or "containerd")
        write_plan(layout, Plan(programs(sources, layout, network, issuer_url), first_objects(sources, layout)))

    def _spawn(self, prepared: Prepared) -> Lasting:
        image = in_place(this_interpreter())
        tie = ends_with_parent() if self.tied else ()
        apart = ("unshare", "--mount", "--propagation", "private", "--ipc", "--pid", "--mount-proc", "--fork")
        command = (*tie, *prepared.namespace.prefix, *apart, "--kill-child", "--")
        with (self.layout.logs / "node.log").open("wb") as log:
            started = subprocess.Popen(
                [*command, image.python, "-m", "wisp_local.lab.node.inside", str(self.folder)],
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), **image.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(prepared.namespace.descriptor,),
                start_new_session=True,
            )
        found = lasting(started.pid)
        if found is None:
            raise ToolError("the node did not start", hint=f"see {self.layout.logs / 'node.log'}")
        started.returncode = 0  # it is to outlive us, and is not waited for
        os.close(prepared.namespace.descriptor)
        return found

    def _in_network(self, prepared: Prepared, command: tuple[str, ...]) -> None:
        place = Place(prepared.namespace.prefix, self._place.environment, (prepared.namespace.descriptor,))
        done = run(place, *command)
        if done.status != 0:
            raise ToolError(f"{command[0]} failed ({done.complaint.strip()})", hint="the kernel needs nf_tables")

    def _pause_image(self) -> Path:
        layer, archive = self.folder / "pause.layer.tar", self.folder / "pause.tar"
        write_layer(layer, [self.binaries.kubernetes / PAUSE_PROGRAM])
        write_image(archive, Image(configs.PAUSE, layer, (f"/{PAUSE_PROGRAM}",)), ARCHITECTURE)
        return archive

    def _can_stack(self) -> bool:
        """Tell whether overlays can be had in the folder: not on an overlay, as containers' roots are."""
        parts = [self.folder / "overlay" / each for each in ("lower", "upper", "work", "all")]
        for each in parts:
            each.mkdir(parents=True, exist_ok=True)
        lower, upper, work, together = parts
        mount = ("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}")
        return run(self._place, "unshare", "--mount", "--", *mount, str(together)).status == 0

    def _is_ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", NODE, "-o", f"jsonpath={path}").output.reveal() == "True"

    def _resolves(self) -> bool:
        url = f"http://{self.network.node}:{dns.READY_PORT}/ready"
        try:
            return urllib3.request("GET", url, retries=False, timeout=_ASK).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _await(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START
        while not holds():
            if not self.is_running() or time.monotonic() > deadline:
                raise ToolError(f"{what} did not become ready", hint=f"see the logs in {self.layout.logs}")
            time.sleep(_PAUSE)

    def _make_way(self) -> None:
        """Remove what an ended node has left; raises SettingError when the number is a running one's."""
        device = Path("/sys/class/net", self.network.device)
        if not device.exists():
            return
        owner = Path((device / "ifalias").read_text(encoding="utf-8").strip() or "/")
        process = kept(Layout(owner).process)
        if process is not None and process.is_running():
            problem = f"node number {self.number} of this machine is running in {owner}"
            raise SettingError(problem, hint="end it, or choose another number")
        self._unwire()

    def _unwire(self) -> None:
        """Take the network away now: for minutes yet, the kernel keeps it for connections cut off within."""
        run(self._place, "ip", "link", "delete", self.network.device)


def check_machine() -> None:
    """Raise PrivilegeError or ToolError if this user or this machine cannot run a node."""
    if os.geteuid() != 0:
        raise PrivilegeError("a cluster on this machine takes root", hint="run it as root, or use --kubeconfig")
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise ToolError(f"there is no {tool} on PATH", hint=f"apt-get install {package}")


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
