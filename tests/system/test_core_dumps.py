"""Processes that hold tokens or keys leave no core dump, and only root can read their memory."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.needs import Missing, MissingSkip
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.gateway.process import gateway, surroundings
from tests.unit.wisp.kubernetes.apiserver import running as running_api
from tests.unit.wisp.proxy.sidecar import pod
from tests.unit.wisp.proxy.sidecar import running as running_sidecar
from tests.unit.wisp.webhook.process import webhook
from tests.unit.wisp_local.cloud import process as cloud_process
from wisp.certificates import issuer

pytestmark = pytest.mark.system

_UNLIMITED = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
if os.geteuid() == 0:
    hard = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
os.execvp(sys.argv[1], sys.argv[1:])
"""
DUMPING = (sys.executable, "-c", _UNLIMITED)
"""Runs a command with the largest limit of core dumps."""
_WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")


def unprivileged() -> tuple[str, ...]:
    """Return a command prefix that removes all capabilities, and so the access to other processes of the user."""
    return _WITHOUT_CAPABILITIES if os.geteuid() == 0 else ()


def is_readable(pid: int) -> bool:
    """Return whether another process of the same user may read the process's memory, tested with its environment."""
    command = (*unprivileged(), "cat", f"/proc/{pid}/environ")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def core_limit(pid: int) -> tuple[str, str]:
    """Return the soft and hard limit of core dumps."""
    (line,) = (
        line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size")
    )
    soft, hard = line.split()[4:6]
    return soft, hard


def check_closed(pid: int) -> None:
    """Fail unless the process leaves no core dump and its memory is closed."""
    wait_until(lambda: core_limit(pid) in {("1", "1"), ("0", "0")})
    wait_until(lambda: not is_readable(pid))


@contextlib.contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that waits for its standard input until the block ends."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.needs("setpriv")
def test_ordinary_process_can_be_read_and_dumped() -> None:
    """This proves that the checks of the other tests can fail."""
    with started(*DUMPING, *unprivileged(), "cat") as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "cat\n")
        assert is_readable(process.pid)
        assert core_limit(process.pid)[1] != "1"


@pytest.mark.needs("setpriv")
def test_sidecar_and_its_exchange_process_are_closed(tmp_path: Path) -> None:
    """They are closed at the latest once the sidecar has a token."""
    with Authority(tmp_path) as authority:
        own, flags = pod(tmp_path, authority.url), ("--authority-ca", str(authority.ca_file))
        with running_sidecar(own, *flags, wrapper=(*DUMPING, *unprivileged())) as sidecar:
            assert sidecar.token().status == 200
            check_closed(sidecar.process.pid)
            check_closed(sidecar.child())


@pytest.mark.needs("setpriv")
def test_webhook_is_closed(tmp_path: Path) -> None:
    """It has the key of its certificate."""
    with running_api() as api, webhook(api, tmp_path, wrapper=unprivileged()) as hook:
        hook.await_ready()
        check_closed(hook.process.pid)


@pytest.mark.needs("setpriv")
def test_gateway_and_its_exchange_process_are_closed(tmp_path: Path) -> None:
    """They have the tokens of every identity, and the gateway's own."""
    with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path, wrapper=unprivileged()) as running:
        running.await_ready()
        check_closed(running.process.pid)
        for child in Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split():
            check_closed(int(child))


@pytest.mark.needs("setpriv")
def test_certificate_process_is_closed() -> None:
    """After the first request it has the authority's key."""
    with started(*DUMPING, *unprivileged(), *issuer._COMMAND) as process:
        check_closed(process.pid)


@pytest.mark.needs("setpriv")
def test_local_cloud_is_closed(tmp_path: Path) -> None:
    """It has the keys of all issuers."""
    with cloud_process.running(tmp_path / "state.db", wrapper=unprivileged()) as cloud:
        check_closed(cloud.process.pid)


def _crash(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    process.send_signal(number)
    assert process.wait(PATIENCE) == -number


def _cores(folder: Path) -> list[Path]:
    return list(folder.glob("core*"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder in which other crashing processes leave core dumps, and return it."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    monkeypatch.chdir(tmp_path)
    if not pattern.startswith("core"):
        raise MissingSkip(Missing("core dumps in the working directory", "sysctl -w kernel.core_pattern=core"))
    with started(*DUMPING, "cat") as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "cat\n")
        _crash(process, signal.SIGSEGV)
    assert _cores(tmp_path)
    for file in _cores(tmp_path):
        file.unlink()
    return tmp_path


@pytest.mark.needs("root")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT], ids=lambda number: number.name)
def test_crash_leaves_no_core_dump(folder: Path, number: signal.Signals) -> None:
    """The exchange process and the sidecar start without a limit on core dumps."""
    with Authority(folder) as authority:
        own, flags = pod(folder, authority.url), ("--authority-ca", str(authority.ca_file))
        with running_sidecar(own, *flags, wrapper=DUMPING) as sidecar:
            assert sidecar.token().status == 200
            os.kill(sidecar.child(), number)
            wait_until(lambda: not sidecar.child())
            _crash(sidecar.process, number)
    assert not _cores(folder)


_LIMIT_ALONE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (int(sys.argv[1]),) * 2)
sys.stdin.read()
"""


@pytest.mark.needs("root")
@pytest.mark.parametrize("limit", ["0", "1"])
def test_limit_of_zero_or_one_leaves_no_core_file(folder: Path, limit: str) -> None:
    """A limit of 1 also stops a core_pattern that is a pipe; 0 does not."""
    with started(sys.executable, "-c", _LIMIT_ALONE, limit) as process:
        wait_until(lambda: core_limit(process.pid) == (limit, limit))
        _crash(process, signal.SIGSEGV)
    assert not _cores(folder)


def test_limit_applies_without_ctypes() -> None:
    """A hard limit of 0 stays, since only root could raise it."""
    script = """
import resource, sys
sys.modules["_ctypes"] = None
resource.setrlimit(resource.RLIMIT_CORE, (0, int(sys.argv[1])))
from wisp.base.isolation import forbid_core_dumps
forbid_core_dumps()
print(*resource.getrlimit(resource.RLIMIT_CORE))
"""
    for hard, limits in (("0", "0 0\n"), ("4096", "1 1\n")):
        done = subprocess.run([sys.executable, "-c", script, hard], capture_output=True, text=True, check=True)
        assert done.stdout == limits
