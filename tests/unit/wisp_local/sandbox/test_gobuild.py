"""Go builds report how many packages are compiled, of a total that `go list` gives."""

import io
from pathlib import Path

import pytest

from tests.support.fakes import Clock
from wisp.base.errors import ToolError
from wisp_local.sandbox.builds import Builder, Compilation, Listing, go_build
from wisp_local.sandbox.progress import Progress

GO = """#!/bin/sh
echo "$@" >> "$CALLS"
if [ "$1" = list ]; then
    echo "go: downloading golang.org/x/net v0.1.0"
    echo errors; echo golang.org/x/net/html; echo example.test/main
else
    echo golang.org/x/net/html; echo example.test/main
    echo "$RESULT"
    exit "$STATUS"
fi
"""


def _go(tmp_path: Path, status: int) -> str:
    program = tmp_path / "go"
    program.write_text(GO, encoding="utf-8")
    program.chmod(0o755)
    stream = io.StringIO()
    go_build(
        Builder(Progress(stream, Clock(step=20))),
        "Helm",
        ("nice", "-n", "1", str(program), "build", "-trimpath", "-o", "made", "./main"),
        folder=tmp_path,
        environment={"CALLS": str(tmp_path / "calls"), "STATUS": str(status), "RESULT": "# example.test/main"},
    )
    return stream.getvalue()


def test_packages_are_listed_before_they_are_compiled(tmp_path: Path) -> None:
    """The listing has the packages of the build, and the build prints what it compiles."""
    shown = _go(tmp_path, 0)
    assert (tmp_path / "calls").read_text(encoding="utf-8").splitlines() == [
        "list -deps -mod=readonly ./main",
        "build -v -trimpath -o made ./main",
    ]
    assert "Helm: downloading modules, 1 so far, " in shown
    assert "Helm: 2 of at most 3 packages compiled, " in shown


def test_failure_shows_what_go_reports_and_no_packages(tmp_path: Path) -> None:
    """Lines that only show progress would hide the reason."""
    with pytest.raises(ToolError, match=r"building Helm failed \([^\n]*\):\n# example.test/main: fix"):
        _go(tmp_path, 1)


def test_nothing_to_download_is_not_reported_as_download() -> None:
    """The modules may be on the machine."""
    listing = Listing()
    assert not listing.read("errors")
    assert listing.state("1 s") == "listing packages, 1 s"
    assert listing.packages == 1


@pytest.mark.parametrize(
    "line", ["go: example.test/a@v1: invalid version", "# example.test/a", "./a.go:3:5: undefined: b"]
)
def test_problems_are_kept_for_the_error(line: str) -> None:
    """They are neither packages nor downloads."""
    assert Listing().read(line)
    assert Compilation(1).read(line)


def test_large_numbers_are_readable() -> None:
    """Kubernetes has thousands of packages."""
    compilation = Compilation(2310)
    for _ in range(1812):
        assert not compilation.read("k8s.io/kubernetes/pkg/apis/core/v1")
    assert compilation.state("3 min 42 s") == "1,812 of at most 2,310 packages compiled, 3 min 42 s"
