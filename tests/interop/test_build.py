"""Clients are built once, completely or not at all, and missing tools are reported."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.build import Built, MissingToolError, build, cache_folder, key, main
from tests.interop.recipes import Recipe
from tests.support.waiting import PATIENCE, wait_until
from wisp.base.errors import ToolError

_PROGRAM = """
import os, pathlib, sys
pathlib.Path(sys.argv[1], f"build-{os.getpid()}").touch()
pathlib.Path("made").write_text("made of " + pathlib.Path("source").read_text())
"""


_INTERRUPTED = """
import pathlib, sys
from tests.interop.build import build_all
from tests.interop.recipes import Recipe
from wisp_local.sandbox.signals import run_program

folder = pathlib.Path(sys.argv[1])

def recipe(name):
    command = ("sh", "-c", f"touch {folder}/{name}.started; exec sleep 60")
    return Recipe(name, folder / "sources", "source", {}, {}, (command,), ("made",), ("true",))

recipes = {name: recipe(name) for name in ("first", "second", "third")}
sys.exit(run_program(lambda: len(build_all(recipes, folder / "cache", recipes))))
"""


@pytest.fixture(name="recipe")
def _recipe(tmp_path: Path) -> Recipe:
    """Give a client of two source files, whose builds can be counted."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "source").write_text("this", encoding="utf-8")
    (tmp_path / "sources" / "build.py").write_text(_PROGRAM, encoding="utf-8")
    return Recipe(
        name="fake",
        folder=tmp_path / "sources",
        manifest="source",
        sdks={},
        tools={"true": "coreutils"},
        commands=(("{python}", "build.py", str(tmp_path)),),
        keep=("made",),
        start=("true", "{here}/made", "{folder}/source"),
    )


def _builds(tmp_path: Path) -> int:
    return len(list(tmp_path.glob("build-*")))


def test_client_is_built_once(recipe: Recipe, tmp_path: Path) -> None:
    """The second time it is cached. Only the result is, and the client is started from it."""
    built = [build(recipe, tmp_path / "cache") for _ in range(2)]
    assert built[0] == built[1]
    assert _builds(tmp_path) == 1
    assert (built[0].folder / "made").read_text(encoding="utf-8") == "made of this"
    assert [path.name for path in built[0].folder.iterdir()] == ["made"]
    assert Path(built[0].command[0]).is_absolute()
    assert built[0].command[1:] == (f"{built[0].folder}/made", f"{recipe.folder}/source")


def test_changed_source_is_built_again(recipe: Recipe, tmp_path: Path) -> None:
    """So is a changed recipe, but not a changed script that needs no build."""
    before = build(recipe, tmp_path / "cache")
    (recipe.folder / "script.py").touch()
    assert key(recipe) != before.folder.name.removeprefix("fake-")
    assert key(replace(recipe, script="script.py")) == before.folder.name.removeprefix("fake-")
    (recipe.folder / "source").write_text("that", encoding="utf-8")
    after = build(recipe, tmp_path / "cache")
    assert (after.folder / "made").read_text(encoding="utf-8") == "made of that"
    assert (before.folder / "made").read_text(encoding="utf-8") == "made of this"
    assert key(replace(recipe, commands=())) != key(recipe)


def test_builds_at_the_same_time_have_one_result(recipe: Recipe, tmp_path: Path) -> None:
    """The later ones use the first one's, and leave nothing else behind."""

    def make(_number: int) -> Built:
        return build(recipe, tmp_path / "cache")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(make, range(4)))) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_failed_build_leaves_nothing(recipe: Recipe, tmp_path: Path) -> None:
    """The error has the command and the end of its output."""
    failing = replace(recipe, commands=(("{python}", "-c", "import sys; sys.exit('no such package')"),))
    with pytest.raises(ToolError, match=r"building the fake client failed \(.*-c.*no such package"):
        build(failing, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_tool_is_reported(recipe: Recipe, tmp_path: Path) -> None:
    """Before anything is built, with its package."""
    unavailable = replace(recipe, tools={"no-such-compiler": "the compiler collection"})
    with pytest.raises(MissingToolError, match="no no-such-compiler on PATH: install the compiler collection"):
        build(unavailable, tmp_path / "cache")
    assert _builds(tmp_path) == 0


def test_built_client_needs_no_compiler(recipe: Recipe, tmp_path: Path) -> None:
    """Only the program that starts it has to be installed."""
    cache = tmp_path / "cache"
    built = build(recipe, cache)
    assert build(replace(recipe, tools={"no-such-compiler": "the compiler collection"}), cache) == built
    with pytest.raises(MissingToolError, match="no no-such-runtime on PATH"):
        build(replace(recipe, tools={"no-such-runtime": "it"}, start=("no-such-runtime",)), cache)


def test_cache_folder_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME, or else ~/.cache."""
    assert cache_folder({"XDG_CACHE_HOME": "/there"}) == Path("/there/wisp/interop")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder({}) == Path("/home/me/.cache/wisp/interop")


def test_unknown_client_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """With the known ones."""
    assert main(["cobol"]) == 2
    assert "there is no client cobol; there are go-programs, rust" in capsys.readouterr().err


@pytest.mark.system
def test_interrupted_builds_leave_nothing(recipe: Recipe, tmp_path: Path) -> None:
    """The tools of both threads are stopped, and a waiting client is not built."""
    (tmp_path / "tmp").mkdir()
    command = (sys.executable, "-c", _INTERRUPTED, str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as building:
        wait_until(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        building.send_signal(signal.SIGINT)
        _, errors = building.communicate(timeout=PATIENCE)
    assert building.returncode == 130
    assert "Interrupted: stopping the builds of the clients" in errors
    assert "Traceback" not in errors
    assert list((tmp_path / "cache").iterdir()) == list((tmp_path / "tmp").iterdir()) == []
    assert recipe.folder.exists()
    assert not (tmp_path / "third.started").exists()
