"""The wrapper script around az, and the shell code of `wisp lab env`, run by real shells."""

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.needs import need
from wisp_local.lab.azure_cli import (
    CLOUD_NAME,
    LOGGED_IN,
    MARK,
    CliConfig,
    Shell,
    cloud_metadata,
    enter_lab,
    leave_lab,
    wrapper_script,
)

_AZ = """\
#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
sys.exit(int(os.environ.get("STATUS", "0")))
"""


@dataclass(frozen=True)
class Desk:
    """A folder with a lab's wrapper script, and a real az after it on PATH."""

    folder: Path

    @property
    def programs(self) -> Path:
        """The folder of the lab's programs."""
        return self.folder / "l'a b" / "bin"

    @property
    def config(self) -> Path:
        """The lab's az configuration."""
        return self.folder / "l'a b" / "azure"

    def make_lab(self, programs: Path, client_id: str = "client") -> None:
        """Put the wrapper script there."""
        programs.mkdir(parents=True)
        self.config.mkdir(exist_ok=True, parents=True)
        (programs / MARK).touch()
        config = CliConfig(
            folder=str(self.config),
            trusted="/lab/trusted.pem",
            metadata="/l a/clouds.json",
            host="127.0.0.1",
            client_id=client_id,
            tenant_id="tenant",
            secret_file="/lab/login.secret",
        )
        _write_program(programs / "az", wrapper_script(config))

    def make_az(self) -> Path:
        """Put an az into a folder of its own, and return the folder."""
        folder = self.folder / "real"
        folder.mkdir()
        _write_program(folder / "az", _AZ.format(python=sys.executable))
        return folder

    def az(self, *arguments: str, path: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `az` as a shell finds it on that PATH."""
        return subprocess.run(
            ["/bin/sh", "-c", shlex.join(["az", *arguments])],
            env={"PATH": f"{path}:/usr/bin:/bin", "CALLS": str(self.folder / "calls"), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[tuple[list[str], dict[str, str]]]:
        """Return the arguments and the environment of every call of the real az."""
        file = self.folder / "calls"
        return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.make_lab(desk.programs)
    return desk


def test_wrapper_logs_in_once_and_executes_az(desk: Desk) -> None:
    """The secret is passed by its file's name, and arguments without a change. The second command does not log in."""
    path = f"{desk.programs}:{desk.make_az()}"
    assert desk.az("group", "list", "--query", "[?x=='a b']", path=path).returncode == 0
    assert desk.az("version", path=path).returncode == 0
    login, first, second = (arguments for arguments, _ in desk.calls())
    assert login == [
        *("login", "--service-principal", "-u", "client", "--tenant", "tenant", "--password=@/lab/login.secret"),
        *("--output", "none", "--only-show-errors"),
    ]
    assert first == ["group", "list", "--query", "[?x=='a b']"]
    assert second == ["version"]


def test_wrapper_gives_az_its_configuration_and_a_path_without_labs(desk: Desk) -> None:
    """And adds the cloud to the hosts without a proxy."""
    real = desk.make_az()
    desk.az("version", path=f"{desk.programs}:{real}", no_proxy="a.test", NO_PROXY="b.test", REQUESTS_CA_BUNDLE="/x")
    _, environment = desk.calls()[-1]
    settings = {name: value for name, value in environment.items() if name.startswith(("AZURE_", "ARM_", "REQUESTS_"))}
    assert settings == {
        "AZURE_CONFIG_DIR": str(desk.config),
        "AZURE_CLOUD_NAME": CLOUD_NAME,
        "ARM_CLOUD_METADATA_URL": "file:///l%20a/clouds.json",
        "REQUESTS_CA_BUNDLE": "/lab/trusted.pem",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
    }
    assert environment["no_proxy"] == environment["NO_PROXY"] == "127.0.0.1,a.test,b.test"
    assert environment["PATH"] == f"{real}:/usr/bin:/bin"


def test_first_of_two_labs_on_path_is_used(desk: Desk) -> None:
    """The other lab's script is not taken for the real az."""
    other = desk.folder / "other"
    desk.make_lab(other, "other")
    desk.az("version", path=f"{desk.programs}:{other}:{desk.make_az()}")
    assert [arguments[0] for arguments, _ in desk.calls()] == ["login", "version"]
    assert "client" in desk.calls()[0][0]


def test_wrapper_reports_a_missing_az(desk: Desk) -> None:
    """With a shell's status for a missing command."""
    done = desk.az("version", path=str(desk.programs))
    assert (done.returncode, done.stdout) == (127, "")
    assert "there is no az on PATH: install Azure CLI" in done.stderr


def test_failed_login_ends_the_command(desk: Desk) -> None:
    """The status is that of az, and the next command logs in again."""
    path = f"{desk.programs}:{desk.make_az()}"
    assert desk.az("group", "list", path=path, STATUS="3").returncode == 3
    assert not (desk.config / LOGGED_IN).exists()
    assert desk.az("group", "list", path=path).returncode == 0
    assert [arguments[0] for arguments, _ in desk.calls()] == ["login", "login", "group"]


def test_status_of_the_wrapper_is_that_of_az(desk: Desk) -> None:
    """The script is replaced by az."""
    (desk.config / LOGGED_IN).touch()
    assert desk.az("x", path=f"{desk.programs}:{desk.make_az()}", STATUS="5").returncode == 5


def test_cloud_metadata_is_a_list_with_one_named_cloud() -> None:
    """The format of ARM_CLOUD_METADATA_URL."""
    assert json.loads(cloud_metadata({"name": "x", "portal": "https://p/"})) == [
        {"name": CLOUD_NAME, "portal": "https://p/"}
    ]


def test_folders_of_path_are_not_patterns(desk: Desk) -> None:
    """A folder `*` is a folder, and an empty part stays the current folder."""
    (desk.config / LOGGED_IN).touch()
    real = desk.make_az()
    desk.az("x", path=f"{desk.programs}:/*::{real}")
    assert desk.calls()[-1][1]["PATH"] == f"/*::{real}:/usr/bin:/bin"
    assert os.fspath(real)


SHELLS = {"sh": Shell.POSIX, "bash": Shell.POSIX, "dash": Shell.POSIX, "zsh": Shell.POSIX, "fish": Shell.FISH}
ODD = "/a b/l'\"$HOME`x`\\é\n!*"
ENVIRON = {"PATH": "/usr/bin:/bin", "KUBECONFIG": "/mine/$x", "HOME": "/nowhere"}
CHECKED = "AZURE_CONFIG_DIR", "KUBECONFIG", "KUBECACHEDIR", "WISP_LAB", "PATH"


def _variables(folder: str) -> dict[str, str]:
    return {
        "WISP_LAB": folder,
        "AZURE_CONFIG_DIR": f"{folder}/azure",
        "KUBECONFIG": f"{folder}/kubeconfig",
        "KUBECACHEDIR": f"{folder}/kubecache",
    }


def _environment_after(shell: str, lines: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Let a shell evaluate the lines, and return the environment of a program that it then runs."""
    need(shell)
    script = "\n".join([*lines, "exec env -0"])
    done = subprocess.run([shell, "-c", script], env=dict(environ), capture_output=True, check=True)
    return dict(variable.split("=", 1) for variable in done.stdout.decode().split("\0") if variable)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_enters_and_leaves_a_lab(shell: str) -> None:
    """Whatever characters the folder's name has. Previous values are restored."""
    entered = _environment_after(shell, enter_lab(_variables(ODD), f"{ODD}/bin", ENVIRON, SHELLS[shell]), ENVIRON)
    assert entered["KUBECONFIG"] == f"{ODD}/kubeconfig"
    assert entered["AZURE_CONFIG_DIR"] == f"{ODD}/azure"
    assert entered["PATH"] == f"{ODD}/bin:/usr/bin:/bin"
    left = _environment_after(shell, leave_lab(lambda folder: folder == f"{ODD}/bin", entered, SHELLS[shell]), entered)
    assert {name: left.get(name) for name in CHECKED} == {name: ENVIRON.get(name) for name in CHECKED}
    assert not [name for name in left if name.startswith("WISP_")]


def test_entering_twice_changes_nothing() -> None:
    """A start-up file may do it in every nested shell."""
    once = _environment_after("sh", enter_lab(_variables("/lab"), "/lab/bin", ENVIRON, Shell.POSIX), ENVIRON)
    twice = _environment_after("sh", enter_lab(_variables("/lab"), "/lab/bin", once, Shell.POSIX), once)
    assert {**twice, "_": ""} == {**once, "_": ""}


def test_leaving_the_second_lab_restores_what_was_before_the_first() -> None:
    """And removes both from PATH."""
    first = _environment_after("sh", enter_lab(_variables("/a"), "/a/bin", ENVIRON, Shell.POSIX), ENVIRON)
    second = _environment_after("sh", enter_lab(_variables("/b"), "/b/bin", first, Shell.POSIX), first)
    assert second["KUBECONFIG"] == "/b/kubeconfig"
    assert second["PATH"] == "/b/bin:/a/bin:/usr/bin:/bin"
    left = _environment_after(
        "sh", leave_lab(lambda folder: folder in ("/a/bin", "/b/bin"), second, Shell.POSIX), second
    )
    assert {name: left.get(name) for name in CHECKED} == {name: ENVIRON.get(name) for name in CHECKED}


def test_leaving_without_a_lab_changes_nothing() -> None:
    """No variable of the user is unset."""
    assert leave_lab(lambda folder: False, ENVIRON, Shell.POSIX) == []  # noqa: ARG005 -- its signature


@given(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20))
def test_folder_of_any_characters_is_one_word(text: str) -> None:
    """No character has a meaning for the shell."""
    lines = enter_lab({"WISP_LAB": text}, "/lab/bin", ENVIRON, Shell.POSIX)
    assert _environment_after("sh", lines, ENVIRON)["WISP_LAB"] == text


def test_current_folder_is_not_added_to_an_empty_path(tmp_path: Path) -> None:
    """An empty part of PATH would be the current folder."""
    environ = {name: value for name, value in ENVIRON.items() if name != "PATH"}
    lines = enter_lab(_variables("/lab"), "/lab/bin", environ, Shell.POSIX)
    done = subprocess.run(
        ["/bin/sh", "-c", "\n".join(["unset PATH", *lines, 'echo "$PATH"'])],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "/lab/bin\n"
