"""The memory group limits a process with its children, and counts their memory including TCP buffers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.siege.cgroup import V1, V2, MemoryGroup, memory_hierarchy, watched
from tests.support.needs import MEMORY_GROUPS

LIMIT = 64 * 1024 * 1024
_FILL_BUFFERS = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
connections = []
for _ in range(8):
    client = socket.create_connection(listener.getsockname())
    connections += [client, listener.accept()[0]]
    client.setblocking(False)
    try:
        while True:
            client.send(bytes(65536))
    except BlockingIOError:
        pass
"""


@pytest.fixture(name="group")
def _group() -> Iterator[MemoryGroup]:
    hierarchy = memory_hierarchy()
    assert hierarchy is not None
    group = MemoryGroup(f"wisp-siege-test-{os.getpid()}", LIMIT, hierarchy)
    yield group
    group.remove()


def _run(group: MemoryGroup, program: str) -> int:
    return subprocess.run([*group.wrapper, sys.executable, "-c", program], check=False).returncode


@pytest.mark.siege
@pytest.mark.needs(MEMORY_GROUPS)
def test_peak_covers_the_process_and_its_children(group: MemoryGroup) -> None:
    """It starts again with each watch."""
    child = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', 'bytearray(30_000_000)'], check=True)"
    with watched(group) as memory:
        assert _run(group, child) == 0
    assert memory.value > 30_000_000
    with watched(group) as memory:
        pass
    assert memory.value < 30_000_000
    assert group.out_of_memory_kills() == 0


@pytest.mark.siege
@pytest.mark.needs(MEMORY_GROUPS)
def test_tcp_buffers_are_counted(group: MemoryGroup) -> None:
    """Unread input is charged to the process that should read it."""
    with watched(group) as memory:
        assert _run(group, f"{_FILL_BUFFERS}\nimport time; time.sleep(0.2)") == 0  # to be seen by the samples
    assert memory.value > 15_000_000


@pytest.mark.siege
@pytest.mark.needs(MEMORY_GROUPS)
def test_out_of_memory_kill_is_counted(group: MemoryGroup) -> None:
    assert _run(group, "bytearray(200_000_000)") == -9
    assert group.out_of_memory_kills() == 1


def test_version_2_uses_one_counter(tmp_path: Path) -> None:
    """The limit and the swap limit are written, and the controller is enabled for the group."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").touch()
    assert memory_hierarchy(tmp_path) == tmp_path
    group = MemoryGroup("g", LIMIT, tmp_path)
    folder = tmp_path / "g"
    assert group.version is V2
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert (folder / "memory.max").read_text() == str(LIMIT)
    assert (folder / "memory.swap.max").read_text() == "0"
    (folder / "memory.current").write_text("5000\n")
    (folder / "memory.events").write_text("low 0\noom 2\noom_kill 1\noom_group_kill 0\n")
    assert group.used() == 5000
    assert group.out_of_memory_kills() == 1


def test_version_1_adds_the_tcp_counter(tmp_path: Path) -> None:
    """Both are limited."""
    memory = tmp_path / "memory"
    memory.mkdir()
    (tmp_path / "cpu").mkdir()
    (memory / "memory.limit_in_bytes").touch()
    assert memory_hierarchy(tmp_path) == memory
    group = MemoryGroup("g", LIMIT, memory)
    assert group.version is V1
    folder = memory / "g"
    assert {(folder / file).read_text() for file in V1.limits} == {str(LIMIT)}
    (folder / "memory.usage_in_bytes").write_text("5000\n")
    (folder / "memory.kmem.tcp.usage_in_bytes").write_text("70\n")
    assert group.used() == 5070


def test_machine_without_memory_controller_has_no_hierarchy(tmp_path: Path) -> None:
    """tests/support/needs.py relies on it."""
    assert memory_hierarchy(tmp_path / "nothing") is None
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    assert memory_hierarchy(tmp_path) is None
