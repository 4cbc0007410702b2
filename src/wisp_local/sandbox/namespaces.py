"""Namespaces: who may be in them, what is mounted in them, and the network of a pod on this machine.

Network namespaces are held by a file descriptor: they have no name on the machine, and end with their last user. Mounts
made in a mount namespace of one's own end with it.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wisp.base.errors import ToolError
from wisp.redirect.script import METADATA_IP
from wisp_local.sandbox.modes import ALTERNATIVES, TOOLS, Attempt, FailedAttempt, Mode, missing_tools
from wisp_local.sandbox.processes import END_WITH_PARENT, ProcessContext, run, tail

APPLICATION_UID = 1000
_NO_PRIVILEGES = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
_CLONE_NEWNET = 0x40000000  # unshare(2)
_MS_BIND, _MS_REC = 0x1000, 0x4000  # mount(2)
_OWN = "/proc/thread-self/ns/net"


def find_missing_tools(attempt: Attempt, path: str) -> FailedAttempt | None:
    """Return the attempt as failed if tools that it needs are not on `path`."""
    return missing_tools(attempt, [tool for tool in (*TOOLS, *ALTERNATIVES.values()) if shutil.which(tool, path=path)])


def unshare(attempt: Attempt, *kinds: str) -> tuple[str, ...]:
    """Return the command prefix for new namespaces of these `kinds`, and a user namespace if the mode needs one."""
    users = ("--user", "--map-root-user") if attempt.mode is Mode.USERNS else ()
    subordinate = ("--map-auto",) if users and attempt.several_users else ()
    return ("unshare", *users, *subordinate, *kinds, "--")


def isolated(attempt: Attempt) -> tuple[str, ...]:
    """Return the command prefix for a program in new namespaces, which end with it and with this process."""
    if attempt.mode is Mode.LOOPBACK:
        return ()
    kinds = ("--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child")
    return (*END_WITH_PARENT, *unshare(attempt, *kinds))


def as_user(uid: int | None) -> tuple[str, ...]:
    """Return the command prefix that runs a program as `uid` (None: the current user) without any capability."""
    ids = () if uid is None else (f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    return ("setpriv", *ids, *_NO_PRIVILEGES, "--")


def mount_tmpfs(target: Path) -> None:
    """Mount an empty file system in memory at `target`, readable by everyone. Raise OSError."""
    _mount(b"tmpfs", target, b"tmpfs", 0, b"mode=755")


def bind(source: Path, target: Path) -> None:
    """Mount the folder `source`, with the mounts below it, at the new folder `target`. Raise OSError."""
    target.mkdir()
    _mount(os.fsencode(source), target, b"", _MS_BIND | _MS_REC, b"")


def _mount(source: bytes, target: Path, kind: bytes, flags: int, data: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount: {os.strerror(code)}", os.fspath(target))


def system_call(name: str, *arguments: int) -> None:
    """Call the libc function of that name, which returns 0 on success. Raise OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


@dataclass(frozen=True)
class NetworkNamespace:
    """A network namespace. Programs that use its `path` or `prefix` must inherit the `descriptor`."""

    descriptor: int

    @property
    def path(self) -> str:
        """Where a child process that has the descriptor finds the namespace, in any PID namespace."""
        return f"/proc/self/fd/{self.descriptor}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """Command prefix that runs a program in the namespace."""
        return ("nsenter", f"--net={self.path}", "--")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace until the block is left. Raise OSError."""
        with _returning():
            system_call("setns", self.descriptor, _CLONE_NEWNET)
            yield


def new_namespace() -> NetworkNamespace:
    """Return a new network namespace; the calling thread stays where it is. Raise OSError."""
    with _returning():
        system_call("unshare", _CLONE_NEWNET)
        return NetworkNamespace(os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC))


@contextlib.contextmanager
def _returning() -> Iterator[None]:
    original = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        system_call("setns", original, _CLONE_NEWNET)
        os.close(original)


@dataclass(frozen=True)
class VethPair:
    """The addresses of the two ends of a veth pair and the length of their network prefix."""

    node: str = "10.244.0.1"
    pod: str = "10.244.0.2"
    length: int = 24

    def node_batch(self, pod_path: str) -> str:
        """Return the input of `ip -batch` for the node's end; the other end is created in the namespace `pod_path`."""
        return (
            "link set lo up\n"
            f"link add veth0 type veth peer name eth0 netns {pod_path}\n"
            f"address add {self.node}/{self.length} dev veth0\n"
            "link set veth0 up\n"
        )

    def pod_batch(self) -> str:
        """Return the input of `ip -batch` for the pod's end.

        The redirect needs a route to the metadata service's address. There is no default route: nothing else can be
        reached, and with a route to the node, which drops the packets, each attempt would wait for its timeout.
        """
        return (
            "link set lo up\n"
            f"address add {self.pod}/{self.length} dev eth0\n"
            "link set eth0 up\n"
            f"route add {METADATA_IP} via {self.node}\n"
        )


def pod_network(node: ProcessContext, python: str, pair: VethPair, proxy_port: int) -> NetworkNamespace:
    """Return the network of a pod, connected to this process's own network, the `node`, with the redirect in force.

    The redirect to `proxy_port` is set up by the command of the init container. Raise ToolError or OSError.
    """
    pod = new_namespace()
    ip_batch(pair.node_batch(pod.path), (), pod)
    ip_batch(pair.pod_batch(), pod.prefix, pod)
    context = ProcessContext(pod.prefix, node.environment, (pod.descriptor,))
    result = run(context, python, "-m", "wisp", "redirect", "up", "--proxy-port", str(proxy_port))
    if result.status != 0:
        raise ToolError(" ".join(tail(result.errors)).removeprefix("error: "), hint="see docs/reference/redirect.md")
    return pod


def ip_batch(batch: str, prefix: tuple[str, ...], pod: NetworkNamespace) -> None:
    """Run `ip -batch` with a command prefix; it inherits the pod's descriptor. Raise ToolError."""
    context = ProcessContext(prefix, os.environ, (pod.descriptor,))
    result = run(context, "ip", "-batch", "-", stdin=batch)
    if result.status != 0:
        problem = f"ip failed ({' '.join(result.errors.split()) or result.status})"
        raise ToolError(problem, hint="the kernel needs network namespaces and veth")


def addresses() -> list[str]:
    """Return the IPv4 addresses of this process's network namespace except loopback addresses. Raise ToolError."""
    result = run(ProcessContext((), os.environ), "ip", "-4", "-json", "address", "show")
    if result.status != 0:
        raise ToolError(f"ip failed ({' '.join(result.errors.split())})", hint="install a current iproute2")
    devices = json.loads(result.output.reveal())
    found = [info["local"] for device in devices for info in device.get("addr_info", ())]
    return sorted({address for address in found if not ipaddress.ip_address(address).is_loopback})
