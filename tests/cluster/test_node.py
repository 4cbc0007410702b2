"""The node itself: all its parts end with it, however it ends."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.cluster import eventually, free_node_number
from wisp.base.errors import SettingError
from wisp_local.lab.node.binaries import binaries
from wisp_local.lab.node.node import Node
from wisp_local.sandbox.processes import ProcessIdentity

pytestmark = pytest.mark.cluster
ISSUER = "https://issuer.test/lab"


@pytest.fixture(name="node")
def _node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node", binaries(), free_node_number(), ends_with_parent=True)


def _traces(node: Node) -> list[str]:
    """Return what the node has on this machine: devices, processes, control groups, mounts."""
    devices = [path.name for path in Path("/sys/class/net").glob(node.network.device)]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/wisp-node{node.number}")]
    mounts = [line for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines() if _is_of(node, line)]
    return [*devices, *groups, *mounts, *(str(process) for process in _processes(node))]


def _is_of(node: Node, text: str) -> bool:
    return str(node.folder) in text


def _stop(node: Node) -> None:
    node.stop()


def _kill(node: Node) -> None:
    process = ProcessIdentity.read(node.layout.process)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not node.is_running(), "the first process to end")
    node.stop()


@pytest.mark.parametrize("end", [_stop, _kill], ids=["stopped", "killed"])
def test_node_leaves_nothing(node: Node, end: Callable[[Node], None]) -> None:
    """No process, device, control group, mount or file. While it runs, no other node gets its number."""
    node.start(node.prepare(), ISSUER)
    try:
        assert len(_processes(node)) >= 7
        assert node.kubectl("get", "--raw", "/.well-known/openid-configuration").output.reveal().count(ISSUER) >= 1
        with pytest.raises(SettingError, match=f"node number {node.number} of this machine is running"):
            Node(node.folder.parent / "other", node.binaries, node.number).prepare()
    finally:
        end(node)
    assert not node.folder.exists()
    eventually(lambda: not _traces(node), "the last trace to go")


def test_program_that_ends_is_restarted(node: Node) -> None:
    """As by the init system of a machine."""
    node.start(node.prepare(), ISSUER)
    try:
        (scheduler,) = (process for process in _processes(node) if b"kube-scheduler" in process[1])
        os.kill(scheduler[0], signal.SIGKILL)
        eventually(
            lambda: any(b"kube-scheduler" in process[1] for process in _processes(node) if process != scheduler),
            "another",
        )
    finally:
        node.stop()


def _processes(node: Node) -> list[tuple[int, bytes]]:
    """Return the node's processes: ids and programs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if str(node.folder).encode() in command:
            found.append((int(path.parent.name), command.partition(b"\0")[0]))
    return found
