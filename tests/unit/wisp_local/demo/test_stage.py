"""The stage of the demo."""

import os
import socket
from pathlib import Path

import pytest

from wisp.base.secret import Secret
from wisp_local.demo.stage import folders_to_cover, loopback_stage, project
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import base_environment

LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)


ENVIRONMENT = base_environment(os.environ)


def test_loopback_stage_reserves_a_port_for_the_sidecar(tmp_path: Path) -> None:
    with loopback_stage(LOOPBACK, tmp_path / "stage", ENVIRONMENT) as stage:
        assert stage.metadata == f"http://127.0.0.1:{stage.proxy_port}"
        address = ("127.0.0.1", stage.proxy_port)
        with socket.create_server(address) as sidecar, socket.create_connection(address) as client:
            sidecar.accept()[0].close()
            assert client.recv(1) == b""


def test_loopback_stage_removes_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    with loopback_stage(LOOPBACK, folder, ENVIRONMENT) as stage:
        (stage.folder / "cloud.db").touch()
        assert stage.token_file.is_relative_to(folder)
    assert not folder.exists()


def test_only_the_owner_can_read_the_projected_token(tmp_path: Path) -> None:
    file = tmp_path / "var/run/secrets/azure/wi/token/azure-identity-token"
    project(Secret("assertion"), file, owner=None)
    assert file.read_text(encoding="ascii") == "assertion"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o111 == 0o111


def test_projected_token_does_not_overwrite_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token/azure-identity-token"
    project(Secret("first"), file, owner=None)
    with pytest.raises(FileExistsError):
        project(Secret("second"), file, owner=None)


@pytest.mark.parametrize(
    "made, expected",
    [
        pytest.param("link", ["run"], id="var-run-is-a-link"),
        pytest.param("folder", ["run", "var/run"], id="var-run-is-a-folder"),
        pytest.param("nothing", ["run", "var"], id="no-var-run"),
    ],
)
def test_file_systems_in_memory_cover_run_and_var_run(made: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    if made == "link":
        (tmp_path / "var/run").symlink_to("../run")
    elif made == "folder":
        (tmp_path / "var/run").mkdir()
    assert folders_to_cover(tmp_path) == [tmp_path / folder for folder in expected]
