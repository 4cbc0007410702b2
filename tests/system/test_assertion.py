"""The assertion is only in the exchange process: the process that reads requests never has it (SECURITY.md)."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.unit.wisp.proxy.sidecar import Pod, Sidecar, pod, running

pytestmark = [pytest.mark.system, pytest.mark.needs("root")]


@pytest.fixture(name="own_pod")
def _own_pod(tmp_path: Path, authority: Authority) -> Pod:
    return pod(tmp_path, authority.url)


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Generator[Authority]:
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture(name="sidecar")
def _sidecar(own_pod: Pod, authority: Authority) -> Generator[Sidecar]:
    with running(own_pod, "--authority-ca", str(authority.ca_file)) as sidecar:
        yield sidecar


def _memory(pid: int) -> bytes:
    """Read all of a process's writable memory (proc(5), /proc/pid/maps and mem)."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="ascii", errors="replace")
    areas = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw..", maps, re.MULTILINE)
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for first, last in areas:
            memory.seek(int(first, 16))
            found.append(memory.read(int(last, 16) - int(first, 16)) or b"")
    return b"".join(found)


def test_assertion_is_only_in_the_exchange_process(sidecar: Sidecar, own_pod: Pod) -> None:
    """After an exchange, the process that reads requests has the token in its memory, but not the assertion."""
    token = sidecar.token().document["access_token"].encode()
    claims = own_pod.token_file.read_bytes().split(b".")[1]  # the signatures of these tests are all the same
    assert claims not in token
    memory = _memory(sidecar.process.pid)
    assert token in memory
    assert claims not in memory
    for name in ("cmdline", "environ"):
        for pid in (sidecar.process.pid, sidecar.child()):
            assert claims not in Path(f"/proc/{pid}/{name}").read_bytes()
