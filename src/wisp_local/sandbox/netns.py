"""Network namespaces held by a file descriptor: no name on the machine, gone with the last that uses them."""

import contextlib
import ctypes
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from wisp.base.errors import ToolError
from wisp.redirect.script import METADATA_IP

_CLONE_NEWNET = 0x40000000  # unshare(2)
_OWN = "/proc/thread-self/ns/net"
_TIMEOUT = 30  # seconds


@dataclass(frozen=True)
class NetworkNamespace:
    """A namespace; `descriptor` keeps it, and has to be handed on to whoever uses `path` or `prefix`."""

    descriptor: int

    @property
    def path(self) -> str:
        """Where a child process that has the descriptor finds the namespace, whatever PID namespace /proc is of."""
        return f"/proc/self/fd/{self.descriptor}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command in the namespace."""
        return ("nsenter", f"--net={self.path}", "--")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread be in the namespace within the block. Raises OSError."""
        with _back_home():
            call("setns", self.descriptor, _CLONE_NEWNET)
            yield


def new_namespace() -> NetworkNamespace:
    """Make a namespace; the calling thread is where it was afterwards. Raises OSError."""
    with _back_home():
        call("unshare", _CLONE_NEWNET)
        return NetworkNamespace(os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC))


@contextlib.contextmanager
def _back_home() -> Iterator[None]:
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        call("setns", home, _CLONE_NEWNET)
        os.close(home)


@dataclass(frozen=True)
class Wiring:
    """The addresses of a veth pair's two ends and the length of their prefix."""

    node: str = "10.244.0.1"
    pod: str = "10.244.0.2"
    length: int = 24


def wire(pod: NetworkNamespace, wiring: Wiring) -> None:
    """Join the pod's namespace to this process's own. Raises ToolError."""
    ip_batch(node_batch(pod.path, wiring), (), pod)
    ip_batch(pod_batch(wiring), pod.prefix, pod)


def node_batch(pod_path: str, wiring: Wiring) -> str:
    """Write the node's half for `ip -batch`."""
    return (
        "link set lo up\n"
        f"link add veth0 type veth peer name eth0 netns {pod_path}\n"
        f"address add {wiring.node}/{wiring.length} dev veth0\n"
        "link set veth0 up\n"
    )


def pod_batch(wiring: Wiring) -> str:
    """Write the pod's half for `ip -batch`.

    The redirect needs a route to the metadata service's address. There is no default route: nothing else is reached
    from here, and with a route to the node, which drops the packets, each attempt would wait for its timeout.
    """
    return (
        "link set lo up\n"
        f"address add {wiring.pod}/{wiring.length} dev eth0\n"
        "link set eth0 up\n"
        f"route add {METADATA_IP} via {wiring.node}\n"
    )


def addresses() -> list[str]:
    """Return the IPv4 addresses of this process's network namespace but those of loopback. Raises ToolError."""
    command = ("ip", "-4", "-json", "address", "show")
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_TIMEOUT)
    if done.returncode != 0:
        raise ToolError(f"ip failed ({' '.join(done.stderr.split())})", hint="install a current iproute2")
    every = [info["local"] for device in json.loads(done.stdout) for info in device.get("addr_info", ())]
    return sorted({each for each in every if not ipaddress.ip_address(each).is_loopback})


def ip_batch(batch: str, prefix: tuple[str, ...], pod: NetworkNamespace) -> None:
    """Run `ip -batch` behind the command prefix, with the pod's descriptor at hand. Raises ToolError."""
    done = subprocess.run(
        [*prefix, "ip", "-batch", "-"],
        input=batch,
        capture_output=True,
        check=False,
        text=True,
        timeout=_TIMEOUT,
        pass_fds=(pod.descriptor,),
    )
    if done.returncode != 0:
        problem = f"ip failed ({' '.join(done.stderr.split()) or done.returncode})"
        raise ToolError(problem, hint="the kernel needs network namespaces and veth")


def call(name: str, *arguments: int) -> None:
    """Call libc's function of that name, which returns 0 when all is well. Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
