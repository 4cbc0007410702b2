"""`--version`, and how the commit is found in a checkout, in a built package, or not at all."""

import json
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.needs import need
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE
from wisp import __version__
from wisp.base.version import About, about, commit_of, version_text

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = COMMIT[::-1]
COMMANDS = {
    "wisp": ("-m", "wisp"),
    "wisp proxy": ("-m", "wisp", "proxy"),
    "python -m wisp.proxy": ("-m", "wisp.proxy"),
    "wisp webhook": ("-m", "wisp", "webhook"),
    "wisp webhook serve": ("-m", "wisp", "webhook", "serve"),
}
FORMS = {
    "text": ("--version",),
    "json": ("--version", "-o", "json"),
    "json, options in reverse order": ("--output=json", "--version"),
}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments."""
    command, environment = [sys.executable, *arguments], {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_every_command_prints_the_same_version(command: tuple[str, ...], options: tuple[str, ...]) -> None:
    """The order of the options does not matter, and no other setting is needed."""
    ended = run(*command, *options, WISP_ADMISSION_OUTPUT="json")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        0,
        version_text("text" if len(options) == 1 else "json"),
        "",
    )


def test_version_options_have_no_environment_variables() -> None:
    """The webhook's other options have variables."""
    ended = run("-m", "wisp", "webhook", "--port=x", WISP_ADMISSION_VERSION="1", WISP_ADMISSION_OUTPUT="x")
    assert ended.returncode == 2
    assert "'--port'" in ended.stderr


def test_text_has_the_short_commit_and_json_the_whole() -> None:
    build_info = About("1.2.3", COMMIT, "3.11.7", "linux/x86_64")
    assert version_text("text", build_info) == "wisp 1.2.3 (commit 0123456789ab, Python 3.11.7, linux/x86_64)\n"
    document = {"version": "1.2.3", "commit": COMMIT, "python": "3.11.7", "platform": "linux/x86_64"}
    assert json.loads(version_text("json", build_info)) == document
    assert version_text("json", build_info).count("\n") == 1
    assert "commit unknown," in version_text("text", build_info._replace(commit="unknown"))


def test_version_and_platform_are_those_of_the_running_python() -> None:
    build_info = about()
    assert build_info.version == __version__
    assert build_info.python == platform.python_version()
    assert build_info.platform == f"{platform.system().lower()}/{platform.machine()}"


@pytest.mark.parametrize("command", [("-m", "wisp.proxy"), ("-m", "wisp", "webhook")], ids=["proxy", "webhook"])
@pytest.mark.parametrize("options", [("-o", "json"), ("--version", "-o", "xml"), ("--version", "-o")])
def test_other_uses_of_the_output_option_are_errors(command: tuple[str, ...], options: tuple[str, ...]) -> None:
    ended = run(*command, *options)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr


def test_sidecar_does_not_load_the_version_module() -> None:
    """Every pod would pay for it."""
    modules = "wisp.proxy.app, wisp.proxy.token_service, wisp.entra.process"
    ended = run("-c", f"import sys, {modules}; print('wisp.base.version' in sys.modules)")
    assert ended.stdout == "False\n", ended.stderr


@pytest.fixture(name="package")
def _package(tmp_path: Path) -> Path:
    """Return the package folder of a checkout without commits."""
    folder = tmp_path / "src/wisp"
    folder.mkdir(parents=True)
    write(folder / "commit.txt", "$Format:%H$")
    return folder


def write(path: Path, text: str) -> None:
    """Write a line to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


@pytest.mark.parametrize(
    "files, commit",
    [
        pytest.param({".git/HEAD": COMMIT}, COMMIT, id="a detached head"),
        pytest.param({".git/HEAD": "ref: refs/heads/a", ".git/refs/heads/a": COMMIT}, COMMIT, id="a branch"),
        pytest.param(
            {
                ".git/HEAD": "ref: refs/heads/a",
                ".git/packed-refs": f"# pack-refs\n{OTHER} refs/heads/ab\n{COMMIT} refs/heads/a",
            },
            COMMIT,
            id="a packed branch",
        ),
        pytest.param(
            {
                ".git": "gitdir: main/.git/worktrees/w",
                "main/.git/worktrees/w/HEAD": "ref: refs/heads/a",
                "main/.git/worktrees/w/commondir": "../..",
                "main/.git/refs/heads/a": COMMIT,
            },
            COMMIT,
            id="a worktree",
        ),
        pytest.param(
            {".git/HEAD": "ref: refs/heads/a", ".git/refs/heads/a": "ref: refs/heads/b", ".git/refs/heads/b": COMMIT},
            COMMIT,
            id="a symbolic branch",
        ),
        pytest.param({".git/HEAD": COMMIT + COMMIT[:24]}, COMMIT + COMMIT[:24], id="a SHA-256 hash"),
        pytest.param({"src/wisp/commit.txt": COMMIT, ".git/HEAD": OTHER}, COMMIT, id="a built package"),
        pytest.param({}, "unknown", id="no repository"),
        pytest.param({".git/HEAD": "ref: refs/heads/a"}, "unknown", id="a branch without a commit"),
        pytest.param({".git/HEAD": "ref: HEAD"}, "unknown", id="a reference to itself"),
        pytest.param({".git/HEAD": "x" * 40}, "unknown", id="not a hash"),
        pytest.param({".git": "gitdir: /nowhere"}, "unknown", id="a deleted worktree"),
        pytest.param({".git": "\0"}, "unknown", id="garbage"),
        pytest.param({"src/wisp/commit.txt": "\0"}, "unknown", id="garbage in the package"),
    ],
)
def test_commit_of_a_checkout_is_found(package: Path, tmp_path: Path, files: dict[str, str], commit: str) -> None:
    """A repository is read in git's layout; an unknown commit is never an error."""
    for name, text in files.items():
        write(tmp_path / name, text)
    assert commit_of(str(package)) == commit


def test_commit_file_that_is_not_text_gives_an_unknown_commit(package: Path) -> None:
    (package / "commit.txt").write_bytes(b"\xff\xfe")
    assert commit_of(str(package)) == "unknown"


def test_repository_around_an_installation_is_ignored(tmp_path: Path) -> None:
    """A package installed into another project's checkout has nothing to do with that project's commit."""
    write(tmp_path / ".git/HEAD", COMMIT)
    for folder in (tmp_path / "wisp", tmp_path / "src/other", tmp_path / "lib/site-packages/wisp"):
        folder.mkdir(parents=True)
        assert commit_of(str(folder)) == "unknown"


def test_commit_is_the_one_that_git_reports() -> None:
    """Compared in this checkout, if it is one."""
    need("git")
    git = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    expected = git.stdout.strip() if git.returncode == 0 else "unknown"
    assert commit_of(str(ROOT / "src/wisp")) == expected


@pytest.mark.system
def test_wheel_and_source_distribution_contain_the_commit(tmp_path: Path) -> None:
    """So does a wheel built from the source distribution, without a repository."""
    expected = commit_of(str(ROOT / "src/wisp"))
    build(ROOT, "wheel", "sdist", to=tmp_path)
    assert commit_in(*tmp_path.glob("*.whl")) == expected
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    build(source, "wheel", to=tmp_path / "again")
    assert commit_in(*(tmp_path / "again").glob("*.whl")) == expected
    assert (ROOT / "src/wisp/commit.txt").read_text() == "$Format:%H$\n"


def build(source: Path, *targets: str, to: Path) -> None:
    """Build the targets with the build system of the project."""
    options = [f"--target={target}" for target in targets]
    command = [sys.executable, "-m", "hatchling", "build", f"--directory={to}", *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=PATIENCE)


def commit_in(wheel: Path) -> str:
    """Return the commit of the package in a wheel."""
    with zipfile.ZipFile(wheel) as opened:
        assert opened.namelist().count("wisp/commit.txt") == 1
        return opened.read("wisp/commit.txt").decode().strip()
