"""The program in front of az, run by a real sh with an az that writes down what it was told."""

import json
import os
import shlex
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from wisp_local.lab.az import CLOUD_NAME, LOGGED_IN, MARK, Login, Told, endpoints_file, program

LOGIN = Login("client", "tenant", "/lab/login.secret")
_AZ = """\
#!{python}
import json, os, sys
with open(os.environ["HEARD"], "a") as heard:
    heard.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
sys.exit(int(os.environ.get("STATUS", "0")))
"""


@dataclass(frozen=True)
class Desk:
    """A folder with a lab's program, and a real az behind it on PATH."""

    folder: Path

    @property
    def programs(self) -> Path:
        """The lab's folder of programs."""
        return self.folder / "l'a b" / "bin"

    @property
    def config(self) -> Path:
        """The lab's az configuration."""
        return self.folder / "l'a b" / "azure"

    def make_lab(self, programs: Path, login: Login = LOGIN) -> None:
        """Put the program there."""
        programs.mkdir(parents=True)
        self.config.mkdir(exist_ok=True, parents=True)
        (programs / MARK).touch()
        told = Told(str(self.config), "/lab/trusted.pem", "/l a/clouds.json", "127.0.0.1")
        _write_program(programs / "az", program(told, login))

    def make_az(self) -> Path:
        """Put an az into a folder of its own, and return that."""
        folder = self.folder / "real"
        folder.mkdir()
        _write_program(folder / "az", _AZ.format(python=sys.executable))
        return folder

    def az(self, *arguments: str, path: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run what `az` is on that PATH."""
        return subprocess.run(
            ["/bin/sh", "-c", shlex.join(["az", *arguments])],
            env={"PATH": f"{path}:/usr/bin:/bin", "HEARD": str(self.folder / "heard"), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def heard(self) -> list[tuple[list[str], dict[str, str]]]:
        """Return what the real az was called with, each time."""
        file = self.folder / "heard"
        return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.make_lab(desk.programs)
    return desk


def test_it_logs_in_once_and_becomes_az(desk: Desk) -> None:
    """The secret is named by its file; arguments pass as they are; a second command finds the login done."""
    path = f"{desk.programs}:{desk.make_az()}"
    assert desk.az("group", "list", "--query", "[?x=='a b']", path=path).returncode == 0
    assert desk.az("version", path=path).returncode == 0
    login, first, second = (arguments for arguments, _ in desk.heard())
    assert login == [
        *("login", "--service-principal", "-u", "client", "--tenant", "tenant", "--password=@/lab/login.secret"),
        *("--output", "none", "--only-show-errors"),
    ]
    assert first == ["group", "list", "--query", "[?x=='a b']"]
    assert second == ["version"]


def test_az_alone_is_told(desk: Desk) -> None:
    """Its configuration, its cloud, what it trusts; and its PATH has no lab on it any more."""
    real = desk.make_az()
    desk.az("version", path=f"{desk.programs}:{real}", no_proxy="a.test", NO_PROXY="b.test", REQUESTS_CA_BUNDLE="/x")
    _, environment = desk.heard()[-1]
    told = {name: value for name, value in environment.items() if name.startswith(("AZURE_", "ARM_", "REQUESTS_"))}
    assert told == {
        "AZURE_CONFIG_DIR": str(desk.config),
        "AZURE_CLOUD_NAME": CLOUD_NAME,
        "ARM_CLOUD_METADATA_URL": "file:///l%20a/clouds.json",
        "REQUESTS_CA_BUNDLE": "/lab/trusted.pem",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
    }
    assert environment["no_proxy"] == environment["NO_PROXY"] == "127.0.0.1,a.test,b.test"
    assert environment["PATH"] == f"{real}:/usr/bin:/bin"


def test_of_two_labs_the_first_on_path_counts(desk: Desk) -> None:
    """Another lab's program is not taken for the real az."""
    other = desk.folder / "other"
    desk.make_lab(other, Login("other", "tenant", "/other"))
    desk.az("version", path=f"{desk.programs}:{other}:{desk.make_az()}")
    assert [arguments[0] for arguments, _ in desk.heard()] == ["login", "version"]
    assert "client" in desk.heard()[0][0]


def test_without_an_az_it_says_so(desk: Desk) -> None:
    """With a shell's status for a command that is not there."""
    done = desk.az("version", path=str(desk.programs))
    assert (done.returncode, done.stdout) == (127, "")
    assert "there is no az on PATH: install Azure CLI" in done.stderr


def test_a_login_that_fails_is_the_commands_end(desk: Desk) -> None:
    """Its status is az's, and the next command tries again."""
    path = f"{desk.programs}:{desk.make_az()}"
    assert desk.az("group", "list", path=path, STATUS="3").returncode == 3
    assert not (desk.config / LOGGED_IN).exists()
    assert desk.az("group", "list", path=path).returncode == 0
    assert [arguments[0] for arguments, _ in desk.heard()] == ["login", "login", "group"]


def test_its_status_is_azs(desk: Desk) -> None:
    """It becomes az."""
    (desk.config / LOGGED_IN).touch()
    assert desk.az("x", path=f"{desk.programs}:{desk.make_az()}", STATUS="5").returncode == 5


def test_the_endpoints_are_a_list_with_the_cloud_by_its_name() -> None:
    """As ARM_CLOUD_METADATA_URL wants it."""
    assert json.loads(endpoints_file({"name": "x", "portal": "https://p/"})) == [
        {"name": CLOUD_NAME, "portal": "https://p/"}
    ]


def test_path_parts_are_no_patterns(desk: Desk) -> None:
    """A folder called `*` is a folder, and an empty part stays the current folder."""
    (desk.config / LOGGED_IN).touch()
    real = desk.make_az()
    desk.az("x", path=f"{desk.programs}:/*::{real}")
    assert desk.heard()[-1][1]["PATH"] == f"/*::{real}:/usr/bin:/bin"
    assert os.fspath(real)
