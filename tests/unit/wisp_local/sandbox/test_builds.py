"""Build tools run with progress; products are built into the cache, complete or not at all."""

import io
import os
import signal
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable, ItemsView
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.fakes import Clock
from tests.support.waiting import PATIENCE, wait_until
from wisp.base.errors import ToolError
from wisp_local.sandbox.builds import (
    Builder,
    Compilation,
    LastLine,
    Listing,
    Product,
    go_build,
    must_have,
    output_lines,
    running_tool,
)
from wisp_local.sandbox.progress import Progress

FAILING = (sys.executable, "-c", "import sys; print('first\\n' * 30 + 'no space left'); sys.exit(3)")


HELM = Product(name="Helm", reason="tests run it", usual_duration="about 2 minutes", path="helm-1/helm")


TOOL = """
import os, pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
pathlib.Path(os.environ["TMPDIR"], "work").touch()
folder = pathlib.Path(sys.argv[1])
(folder / "new").write_text(f"{os.getpid()} {child.pid}")
(folder / "new").rename(folder / "processes")
child.wait()
"""


BUILDING = """
import pathlib, sys
from wisp_local.sandbox.builds import Builder, Product
from wisp_local.sandbox.signals import run_program

cache, tool = pathlib.Path(sys.argv[1]), sys.argv[2]

def make(draft):
    Builder().run("Helm", (sys.executable, "-c", tool, str(cache.parent)))
    return draft

sys.exit(run_program(lambda: Builder().obtain(Product("Helm", "", "", "helm"), cache, make)))
"""


"""Builds with a tool that starts a program of its own and writes the process ids of both into the cache's parent."""


def _builder() -> tuple[Builder, io.StringIO]:
    stream = io.StringIO()
    return Builder(Progress(stream, Clock())), stream


def _file(content: str) -> Callable[[Path], Path]:
    """Build a file with a content."""

    def make(draft: Path) -> Path:
        (draft / "helm").write_text(content, encoding="utf-8")
        return draft / "helm"

    return make


def _never(_draft: Path) -> Path:
    raise AssertionError("it was built again")


def test_missing_tool_is_reported_with_what_to_install() -> None:
    with pytest.raises(ToolError, match="Helm cannot be built: there is no no-such-go on PATH: install Go"):
        must_have("no-such-go", "Helm", "install Go")


def test_build_is_announced(tmp_path: Path) -> None:
    builder, stream = _builder()
    assert builder.obtain(HELM, tmp_path, _file("made")).read_text(encoding="utf-8") == "made"
    assert stream.getvalue() == (
        "Building Helm ...\n"
        "  needed for  tests run it\n"
        "  duration    about 2 minutes\n"
        f"  cached in   {tmp_path}/helm-1/helm (built once)\n"
        "Built Helm in 0 s.\n"
    )


def test_cached_product_is_not_built_or_announced(tmp_path: Path) -> None:
    _builder()[0].obtain(HELM, tmp_path, _file("made"))
    builder, stream = _builder()
    product = Product(name="Helm", reason="", usual_duration="", path=HELM.path, tools={"no-such-go": "install Go"})
    assert builder.obtain(product, tmp_path, _never) == tmp_path / "helm-1" / "helm"
    assert stream.getvalue() == ""


def test_old_product_is_built_again(tmp_path: Path) -> None:
    product = Product(name="Helm", reason="", usual_duration="", path="helm-1/helm", max_age=86400)
    builder, _ = _builder()
    made = builder.obtain(product, tmp_path, _file("old"))
    assert builder.obtain(product, tmp_path, _never) == made
    os.utime(made, (0, 0))
    assert builder.obtain(product, tmp_path, _file("new")).read_text(encoding="utf-8") == "new"


def test_missing_tool_is_reported_before_anything_is_announced(tmp_path: Path) -> None:
    builder, stream = _builder()
    product = Product(name="Helm", reason="", usual_duration="", path="helm", tools={"no-such-go": "install Go"})
    with pytest.raises(ToolError, match="no no-such-go on PATH"):
        builder.obtain(product, tmp_path / "cache", _never)
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_failure_shows_the_last_lines_and_leaves_no_draft(tmp_path: Path) -> None:
    builder, _ = _builder()

    def make(draft: Path) -> Path:
        (draft / "half").touch()
        builder.run("Helm", FAILING)
        return draft

    with pytest.raises(ToolError, match=r"building Helm failed[^\n]*\n(first\n){19}no space left"):
        builder.obtain(HELM, tmp_path, make)
    assert list(tmp_path.iterdir()) == []


def test_tool_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    program = tmp_path / "go"
    program.touch()
    with pytest.raises(ToolError, match="cannot be started"):
        _builder()[0].run("Helm", [str(program)])


def test_tool_runs_in_its_folder_with_more_variables(tmp_path: Path) -> None:
    command = ("sh", "-c", 'echo "$COLOUR $HOME" > output')
    _builder()[0].run("it", command, folder=tmp_path, environment={"COLOUR": "red"})
    assert (tmp_path / "output").read_text(encoding="utf-8") == f"red {Path.home()}\n"


def test_temporary_files_of_a_tool_are_removed(tmp_path: Path) -> None:
    _builder()[0].run("it", ("sh", "-c", 'touch "$TMPDIR/work"; echo "$TMPDIR" > "$0"', str(tmp_path / "where")))
    assert not Path((tmp_path / "where").read_text(encoding="utf-8").strip()).exists()


def test_progress_shows_the_step_the_time_and_the_last_line() -> None:
    """A clock that advances by 15 seconds whenever it is read makes every line due."""
    stream = io.StringIO()
    builder = Builder(Progress(stream, Clock(step=15)))
    builder.run("Helm", ("echo", "compiling"), meter=LastLine("step 1 of 2"))
    assert stream.getvalue() == "  Helm: step 1 of 2, 15 s: compiling\n"


def test_long_lines_of_progress_are_cut() -> None:
    stream = io.StringIO()
    Builder(Progress(stream, Clock(step=15))).run("Helm", ("sh", "-c", "printf %500d 1"))
    assert len(stream.getvalue()) < 200


@pytest.mark.parametrize(
    "step, line, expected",
    [("", None, "3 s"), ("step 1", None, "step 1, 3 s"), ("", "a", "3 s: a"), ("step 1", "a", "step 1, 3 s: a")],
    ids=["nothing", "step", "line", "both"],
)
def test_meter_shows_step_time_and_last_line(step: str, line: str | None, expected: str) -> None:
    meter = LastLine(step)
    if line is not None:
        assert meter.read(line)
    assert meter.state("3 s") == expected


class _Cancelling:
    """A meter that cancels the build at the first line of output."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    def read(self, _line: str) -> bool:
        self._builder.cancel()
        return True

    def state(self, elapsed: str) -> str:
        return elapsed


def test_cancelled_builder_stops_its_tools() -> None:
    """A tool of another thread is stopped although that thread received no signal; no other tool starts."""
    builder, _ = _builder()
    with pytest.raises(ToolError, match="building Helm was cancelled"):
        builder.run("Helm", ("yes",), meter=_Cancelling(builder))
    with pytest.raises(ToolError, match="building Helm was cancelled"):
        builder.run("Helm", ("no-such-tool",))


@pytest.mark.system
@pytest.mark.parametrize(
    "number, status",
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_interrupted_build_leaves_nothing(tmp_path: Path, number: int, status: int) -> None:
    """No draft, no temporary file, no child and no grandchild are left."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = (sys.executable, "-c", BUILDING, str(tmp_path / "cache"), TOOL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as building:
        wait_until((tmp_path / "processes").exists)
        assert list((tmp_path / "tmp").glob("*/work"))
        building.send_signal(number)
        _, errors = building.communicate(timeout=PATIENCE)
    assert building.returncode == status
    assert "Interrupted: stopping the build of Helm" in errors
    assert "Traceback" not in errors
    assert list((tmp_path / "cache").iterdir()) == list((tmp_path / "tmp").iterdir()) == []
    for process in (tmp_path / "processes").read_text(encoding="utf-8").split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


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
    shown = _go(tmp_path, 0)
    assert (tmp_path / "calls").read_text(encoding="utf-8").splitlines() == [
        "list -deps -mod=readonly ./main",
        "build -v -trimpath -o made ./main",
    ]
    assert "Helm: downloading modules, 1 so far, " in shown
    assert "Helm: 2 of at most 3 packages compiled, " in shown


def test_failure_shows_what_go_reports_and_no_packages(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"building Helm failed \([^\n]*\):\n# example.test/main: fix"):
        _go(tmp_path, 1)


def test_listing_without_downloads_does_not_mention_downloads() -> None:
    listing = Listing()
    assert not listing.read("errors")
    assert listing.state("1 s") == "listing packages, 1 s"
    assert listing.packages == 1


@pytest.mark.parametrize(
    "line", ["go: example.test/a@v1: invalid version", "# example.test/a", "./a.go:3:5: undefined: b"]
)
def test_problems_reported_by_go_are_not_counted_as_progress(line: str) -> None:
    assert Listing().read(line)
    assert Compilation(1).read(line)


def test_large_numbers_have_thousands_separators() -> None:
    compilation = Compilation(2310)
    for _ in range(1812):
        assert not compilation.read("k8s.io/kubernetes/pkg/apis/core/v1")
    assert compilation.state("3 min 42 s") == "1,812 of at most 2,310 packages compiled, 3 min 42 s"


STUBBORN = """
import os, signal, subprocess
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"])
print(os.getpid(), child.pid, flush=True)
child.wait()
"""


def _started(*command: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return running_tool(command, None, os.environ, patience=0.1)


def test_output_is_read_line_by_line() -> None:
    with _started("sh", "-c", "echo one; echo; echo two >&2; printf three") as tool:
        assert [line for line in output_lines(tool) if line is not None] == ["one", "two", "three"]
    assert tool.returncode == 0


def test_output_that_is_not_utf8_is_readable() -> None:
    with _started("printf", "a\\377b") as tool:
        assert [line for line in output_lines(tool) if line is not None] == ["a\N{REPLACEMENT CHARACTER}b"]


@pytest.mark.system
def test_tool_that_ignores_signals_is_killed_with_its_children() -> None:
    processes = []

    def interrupt() -> None:
        with _started(sys.executable, "-c", STUBBORN) as tool:
            processes.extend(next(line for line in output_lines(tool) if line is not None).split())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


class InterruptingEnvironment(UserDict[str, str]):
    """An environment during whose reading Ctrl-C is pressed: the tool is just being started."""

    def items(self) -> ItemsView[str, str]:
        """Return the variables."""
        signal.raise_signal(signal.SIGINT)
        return super().items()


def test_interruption_while_the_tool_starts_is_announced() -> None:
    announced = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        environment = InterruptingEnvironment(os.environ)
        with (
            pytest.raises(KeyboardInterrupt),
            running_tool(("sleep", "60"), None, environment, interrupted=lambda: announced.append("once")),
        ):
            pytest.fail("the block is not entered")
    finally:
        signal.signal(signal.SIGINT, before)
    assert announced == ["once"]


def test_tool_that_does_not_exist_is_reported() -> None:
    with pytest.raises(ToolError, match="no-such-tool cannot be started"), _started("no-such-tool"):
        pass
