"""Tests that this machine cannot run: skipped with a reason, counted at the end, and failed in CI."""

from pathlib import Path

import pytest

from tests.support.bare import hidden
from tests.support.needs import INSTALL, MissingSkip, find_missing, need
from tests.support.paths import ROOT

pytest_plugins = ["pytester"]

CONFTEST = ROOT / "tests/conftest.py"
TESTS = """
import pytest
from tests.support.needs import need

@pytest.mark.needs("nft", "wrk")
def test_marked():
    raise AssertionError("it ran")

@pytest.fixture
def network():
    need("nft")

def test_with_a_fixture(network):
    raise AssertionError("it ran")

def test_without():
    pass
"""


@pytest.fixture(name="project")
def _project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Make a project with this one's conftest.py, on a machine without any program."""
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini(f"[pytest]\npythonpath = {ROOT}\nmarkers = needs: what it needs\n")
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makepyfile(TESTS)
    return pytester


@pytest.mark.system
def test_each_missing_program_has_one_line_with_its_remedy(project: pytest.Pytester) -> None:
    """The tests are counted, those skipped by a fixture too; workers of pytest-xdist report to the same summary."""
    for workers in ((), ("-n", "2")):
        result = project.runpytest_subprocess("-p", "no:cacheprovider", *workers)
        result.assert_outcomes(passed=1, skipped=2)
        lines = result.outlines[result.outlines.index(next(x for x in result.outlines if "lacks something" in x)) :]
        assert lines[1:3] == [
            "nft     2 skipped    apt-get install nftables",
            "wrk     1 skipped    apt-get install wrk",
        ]


@pytest.mark.system
def test_in_ci_a_skip_is_a_failure(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, everything is installed first."""
    monkeypatch.setenv("CI", "true")
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == 1
    assert result.parseoutcomes().get("skipped", 0) == 0
    result.stdout.fnmatch_lines(["*skipped in CI: *nft is missing (apt-get install nftables)*"])


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is on PATH is not."""
    (tmp_path / "nft").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [each.name for each in find_missing("nft", "wrk")] == ["wrk"]
    need("nft")
    with pytest.raises(MissingSkip, match=r"^wrk is missing \(apt-get install wrk\)$"):
        need("nft", "wrk")


def test_a_bare_machine_has_no_optional_program(tmp_path: Path) -> None:
    """Compilers of other languages are hidden too; what Debian cannot do without is not."""
    for name in ("nft", "go", "setpriv", "python3"):
        (tmp_path / name).touch(0o755)
    assert {each.name for each in hidden(str(tmp_path)) if each.parent == tmp_path} == {"nft", "go"}
    assert "setpriv" in INSTALL
