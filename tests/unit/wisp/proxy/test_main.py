"""The image's `/proxy`: the sidecar, and a probe that loads none of it."""

import subprocess
import sys

import pytest

from tests.unit.wisp.proxy.sidecar import COMMAND, Sidecar, free_port
from wisp.base.errors import WispError
from wisp.proxy.probe import check

_PROGRAM = "import sys; from wisp.proxy.__main__ import main; status = main(sys.argv[1:])"


def _start(*arguments: str, then: str = "pass") -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path[:0] = {sys.path}; {_PROGRAM}; {then}; sys.exit(status)"
    command = [sys.executable, "-ISc", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--proxy-port=0", "--probe"),
        ("--proxy-port=80000", "--probe"),
        ("--proxy-port=x", "--probe", "--log-level=info"),
        ("--port=1", "--probe"),
        ("--proxy-port=1", "--probe", "--unknown"),
        ("--version",),
        ("--help",),
        ("--log-level=loud",),
    ],
    ids=" ".join,
)
def test_proxy_behaves_like_wisp_proxy_without_the_probe_flag(arguments: tuple[str, ...]) -> None:
    """Output and exit status are the same."""
    expected = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    done = _start(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (expected.returncode, expected.stdout, expected.stderr)


@pytest.mark.parametrize(
    "more", [(), ("--log-level=info",), ("--log-level=",)], ids=["short", "ours", "the reference's"]
)
def test_probe_loads_no_modules_of_the_sidecar(sidecar: Sidecar, more: tuple[str, ...]) -> None:
    """It shares the CPU limit of the sidecar that it waits for."""
    done = _start(f"--proxy-port={sidecar.port}", "--probe", *more, then="print(*sys.modules)")
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(done.stdout.split())
    ours = {"wisp", "wisp.base", "wisp.base.errors", "wisp.proxy", "wisp.proxy.probe", "wisp.proxy.__main__"}
    assert {module for module in loaded if module.startswith("wisp")} == ours
    assert loaded.isdisjoint({"socket", "typing", "enum", "os"})


def test_missing_sidecar_is_reported_with_port_and_reason() -> None:
    port = free_port()
    with pytest.raises(WispError, match=rf"no sidecar is ready on 127\.0\.0\.1:{port} \(Connection refused\)"):
        check(port, patience=0.0)
