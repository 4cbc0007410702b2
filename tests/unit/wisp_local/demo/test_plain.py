"""The scene on the plain machine, and the inside that plays on it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import PATIENCE
from wisp_local.demo.stage import loopback_stage
from wisp_local.sandbox.interpreter import in_place, this_interpreter
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import base_environment

LOOPBACK = Attempt(Mode.LOOPBACK, several_users=False)
ENVIRONMENT = base_environment(os.environ)


def test_its_port_is_held_for_the_sidecar(tmp_path: Path) -> None:
    """Nobody else is given the port, and the sidecar can listen on it."""
    with loopback_stage(LOOPBACK, tmp_path / "stage", ENVIRONMENT) as stage:
        assert stage.metadata == f"http://127.0.0.1:{stage.proxy_port}"
        address = ("127.0.0.1", stage.proxy_port)
        with socket.create_server(address) as sidecar, socket.create_connection(address) as client:
            sidecar.accept()[0].close()
            assert client.recv(1) == b""


def test_its_folder_goes_with_it(tmp_path: Path) -> None:
    """State, keys, logs and the projected token are in it."""
    folder = tmp_path / "stage"
    folder.mkdir()
    with loopback_stage(LOOPBACK, folder, ENVIRONMENT) as stage:
        (stage.folder / "cloud.db").touch()
        assert stage.token_file.is_relative_to(folder)
    assert not folder.exists()


def test_the_inside_ends_with_its_outside(tmp_path: Path) -> None:
    """When standard input ends, so does everything, whatever is going on; nothing is left."""
    folder = tmp_path / "stage"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "wisp_local.demo.inside", "loopback", "one", str(folder)],
        env={**ENVIRONMENT, **in_place(this_interpreter()).environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as inside:
        assert inside.stdin is not None
        assert inside.stdout is not None
        assert b'"Ready"' in inside.stdout.readline()
        inside.stdin.close()
        assert b'"Finished"' not in inside.stdout.read()
        assert inside.wait(PATIENCE) == 1
    assert not folder.exists()
