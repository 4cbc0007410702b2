"""External tools build products into the cache: announced, with progress, complete or not at all."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fakes import Clock
from tests.support.waiting import PATIENCE, wait_until
from wisp.base.errors import ToolError
from wisp_local.sandbox.builds import Builder, LastLine, Product, must_have
from wisp_local.sandbox.folders import cache_folder, move_into_place
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


@pytest.mark.parametrize("given, expected", [({"XDG_CACHE_HOME": "/x"}, "/x/wisp"), ({}, None)], ids=["xdg", "home"])
def test_cache_folder_is_where_the_users_caches_are(given: dict[str, str], expected: str | None) -> None:
    """XDG_CACHE_HOME decides, with ~/.cache as the default."""
    assert str(cache_folder(given)) == (expected or str(Path.home() / ".cache" / "wisp"))


def test_missing_tool_is_reported_with_what_to_install() -> None:
    """The error names the product and the tool."""
    with pytest.raises(ToolError, match="Helm cannot be built: there is no no-such-go on PATH: install Go"):
        must_have("no-such-go", "Helm", "install Go")


def test_build_is_announced(tmp_path: Path) -> None:
    """What, why, how long and where are printed before the build, and how long it took after it."""
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
    """Nothing is printed, and no tool has to be installed."""
    _builder()[0].obtain(HELM, tmp_path, _file("made"))
    builder, stream = _builder()
    product = Product(name="Helm", reason="", usual_duration="", path=HELM.path, tools={"no-such-go": "install Go"})
    assert builder.obtain(product, tmp_path, _never) == tmp_path / "helm-1" / "helm"
    assert stream.getvalue() == ""


def test_old_product_is_built_again(tmp_path: Path) -> None:
    """A product with a maximum age is replaced when it is older."""
    product = Product(name="Helm", reason="", usual_duration="", path="helm-1/helm", max_age=86400)
    builder, _ = _builder()
    made = builder.obtain(product, tmp_path, _file("old"))
    assert builder.obtain(product, tmp_path, _never) == made
    os.utime(made, (0, 0))
    assert builder.obtain(product, tmp_path, _file("new")).read_text(encoding="utf-8") == "new"


def test_without_a_tool_nothing_is_announced(tmp_path: Path) -> None:
    """The error comes first, and the cache folder is not even created."""
    builder, stream = _builder()
    product = Product(name="Helm", reason="", usual_duration="", path="helm", tools={"no-such-go": "install Go"})
    with pytest.raises(ToolError, match="no no-such-go on PATH"):
        builder.obtain(product, tmp_path / "cache", _never)
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_failure_shows_the_last_lines_and_leaves_no_draft(tmp_path: Path) -> None:
    """The error has the last 20 lines of the tool's output."""
    builder, _ = _builder()

    def make(draft: Path) -> Path:
        (draft / "half").touch()
        builder.run("Helm", FAILING)
        return draft

    with pytest.raises(ToolError, match=r"building Helm failed[^\n]*\n(first\n){19}no space left"):
        builder.obtain(HELM, tmp_path, make)
    assert list(tmp_path.iterdir()) == []


def test_tool_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    """The file is on PATH but is not a program."""
    program = tmp_path / "go"
    program.touch()
    with pytest.raises(ToolError, match="cannot be started"):
        _builder()[0].run("Helm", [str(program)])


def test_tool_runs_in_its_folder_with_more_variables(tmp_path: Path) -> None:
    """It inherits our environment."""
    command = ("sh", "-c", 'echo "$COLOUR $HOME" > said')
    _builder()[0].run("it", command, folder=tmp_path, environment={"COLOUR": "red"})
    assert (tmp_path / "said").read_text(encoding="utf-8") == f"red {Path.home()}\n"


def test_temporary_files_of_a_tool_are_removed(tmp_path: Path) -> None:
    """TMPDIR is a folder of its own for each run."""
    _builder()[0].run("it", ("sh", "-c", 'touch "$TMPDIR/work"; echo "$TMPDIR" > "$0"', str(tmp_path / "where")))
    assert not Path((tmp_path / "where").read_text(encoding="utf-8").strip()).exists()


def test_progress_shows_the_step_the_time_and_the_last_line() -> None:
    """A clock that advances by 15 seconds whenever it is read makes every line due."""
    stream = io.StringIO()
    builder = Builder(Progress(stream, Clock(step=15)))
    builder.run("Helm", ("echo", "compiling"), meter=LastLine("step 1 of 2"))
    assert stream.getvalue() == "  Helm: step 1 of 2, 15 s: compiling\n"


def test_long_lines_are_cut() -> None:
    """A log stays readable."""
    stream = io.StringIO()
    Builder(Progress(stream, Clock(step=15))).run("Helm", ("sh", "-c", "printf %500d 1"))
    assert len(stream.getvalue()) < 200


@pytest.mark.parametrize(
    "step, line, expected",
    [("", None, "3 s"), ("step 1", None, "step 1, 3 s"), ("", "a", "3 s: a"), ("step 1", "a", "step 1, 3 s: a")],
    ids=["nothing", "step", "line", "both"],
)
def test_last_line_meter(step: str, line: str | None, expected: str) -> None:
    """Only what is known is shown."""
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


def test_folder_of_a_faster_build_is_kept(tmp_path: Path) -> None:
    """Two runs built the same folder; the second result is discarded."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name, encoding="utf-8")
        move_into_place(tmp_path / name, tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text(encoding="utf-8") == "first"


def test_result_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """A rename that fails for another reason is not hidden."""
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "nothing", tmp_path / "target")


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
