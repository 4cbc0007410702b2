"""The user's folders, and results that are moved into place."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fakes import Clock
from wisp_local.sandbox.builds import Builder, Product
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
def test_cache_folder_follows_the_xdg_specification(given: dict[str, str], expected: str | None) -> None:
    assert str(cache_folder(given)) == (expected or str(Path.home() / ".cache" / "wisp"))


class _Cancelling:
    """A meter that cancels the build at the first line of output."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    def read(self, _line: str) -> bool:
        self._builder.cancel()
        return True

    def state(self, elapsed: str) -> str:
        return elapsed


def test_folder_of_a_faster_build_is_kept(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name, encoding="utf-8")
        move_into_place(tmp_path / name, tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text(encoding="utf-8") == "first"


def test_result_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "nothing", tmp_path / "target")
