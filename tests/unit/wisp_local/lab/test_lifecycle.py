"""The life of a lab, with its real processes."""

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import descendants
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp_local.lab.conftest import NewLab
from tests.unit.wisp_local.lab.lab_command import LabCommand
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import SecretCheck
from wisp_local.cloud.state.store import Store
from wisp_local.sandbox.processes import find_process

pytestmark = pytest.mark.system


def test_cloud_outlives_the_command_until_down(lab: LabCommand) -> None:
    """The data stays after `down`."""
    output = lab.up()
    assert "The lab is up: a local Azure at https://127.0.0.1:" in output
    assert f"wisp lab env --lab={shlex.quote(str(lab.folder))}" in output
    assert lab.answers()
    status = lab.status()
    assert (status["problems"], status["identities"], status["clusters"]) == ([], 0, 0)
    assert (status["cluster"], status["running"]["page"]) == (
        {"kind": "none", "kubeconfig": None},
        f"{lab.url}/",
    )
    pid = lab.pid
    assert lab.run("down").stdout == f"The lab is down; its data stays in {lab.folder}.\n"
    assert find_process(pid) is None
    assert "the lab is down" in lab.status()["problems"][0]
    assert lab.run("down").stdout == "No lab was running.\n"


def test_up_of_a_running_lab_starts_nothing(running_lab: LabCommand) -> None:
    """It is reported, and the process is the same."""
    pid = running_lab.pid
    assert "The lab runs already: a local Azure at" in running_lab.up()
    assert running_lab.pid == pid


def test_lab_is_the_same_after_down_and_up(lab: LabCommand) -> None:
    """Address, keys, tenant, login and resources."""
    lab.up()
    with Store(lab.folder / "cloud.db") as store:
        store.put_resource_group("g", "eastus")
        store.put_identity("g", "app", "eastus")
    before = lab.url, _identity(lab)
    lab.run("down")
    lab.up()
    assert (lab.url, _identity(lab)) == before
    assert lab.status()["identities"] == 1
    assert lab.answers()


def test_lab_is_the_same_after_its_cloud_was_killed(lab: LabCommand) -> None:
    """Status reports it and what to do. `up` starts the cloud again at its address."""
    lab.up()
    before = lab.url, _identity(lab)
    (lab.folder / "azure" / "wisp.login").touch()
    os.kill(lab.pid, 9)
    wait_until(lambda: lab.status()["running"] is None)
    assert "has ended by itself: `wisp lab up` starts it again" in lab.status()["problems"][0]
    assert "The lab is up" in lab.up()
    assert (lab.url, _identity(lab)) == before
    assert lab.answers()
    assert (lab.folder / "azure" / "wisp.login").exists()


def _identity(lab: LabCommand) -> tuple[str, list[str], bytes, str]:
    """Return what clients depend on: tenant, token keys, CA, secret."""
    with Store(lab.folder / "cloud.db") as store:
        keys = [key.key_id for key in store.issuers.token_keys()]
        certificate = store.authority.certificate_pem
        return store.tenant().id, keys, certificate, (lab.folder / "login.secret").read_text()


def test_two_labs_share_nothing(new_lab: NewLab) -> None:
    """The end of one does not affect the other."""
    one, other = new_lab("one"), new_lab("other")
    one.up()
    other.up()
    assert one.url != other.url
    assert _identity(one) != _identity(other)
    one.run("down")
    assert other.answers()


def test_another_process_with_the_recorded_id_is_left_alone(lab: LabCommand) -> None:
    """Process ids are reused after a restart of the machine."""
    lab.up()
    lab.run("down")
    with subprocess.Popen(["sleep", "60"]) as foreign:
        record = json.loads((lab.folder / "lab.json").read_text())
        record["cloud"] = {
            "pid": foreign.pid,
            "started": "another-start 1",
            "since": 0,
            "listening": {"hosts": ["127.0.0.1"], "port": 1, "advertise": []},
            "url": "https://127.0.0.1:1",
            "page": None,
        }
        (lab.folder / "lab.json").write_text(json.dumps(record))
        assert lab.status()["running"] is None
        assert lab.run("down").stdout == "No lab was running.\n"
        (lab.folder / "lab.json").write_text(json.dumps(record))
        lab.up()
        lab.run("down")
        assert foreign.poll() is None
        foreign.kill()


def test_port_in_use_is_reported_at_once(lab: LabCommand) -> None:
    """The address never changes by itself, because everything depends on it. Nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = lab.run("up", f"--port={port}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: cannot listen on port {port} of 127.0.0.1 (Address already in use)\n"
        "hint: choose another --host or --port; --port 0 takes a free one, and the lab keeps it\n"
    )
    assert "no lab here" in lab.status()["problems"][0]


def test_running_lab_cannot_change_its_address(lab: LabCommand) -> None:
    """The error says what to do; after that it can."""
    lab.up()
    before = lab.url
    done = lab.run("up", "--host=127.0.0.2")
    assert done.returncode == 1
    assert "`wisp lab down` first" in done.stderr
    assert lab.url == before
    (lab.folder / "azure" / "wisp.login").touch()
    lab.run("down")
    lab.up("--port=0")
    assert lab.url != before
    assert not (lab.folder / "azure" / "wisp.login").exists()
    assert json.loads((lab.folder / "clouds.json").read_text())[0]["resourceManager"] == f"{lab.url}/"


def test_lab_listens_on_and_advertises_another_host(lab: LabCommand) -> None:
    """In addition to loopback."""
    lab.up("--host=127.0.0.2")
    running = lab.status()["running"]
    assert running["url"].startswith("https://127.0.0.1:")
    assert running["advertisedUrl"].startswith("https://127.0.0.2:")
    assert lab.answers()


def test_other_users_cannot_read_the_lab(lab: LabCommand) -> None:
    """Folder and files are closed, even if the folder existed and was open."""
    lab.folder.mkdir(mode=0o755)
    lab.up()
    assert stat.S_IMODE(lab.folder.stat().st_mode) == 0o700
    for name in ("login.secret", "lab.json", "logs/cloud.log"):
        assert stat.S_IMODE((lab.folder / name).stat().st_mode) == 0o600


def test_secret_is_only_in_its_file(running_lab: LabCommand) -> None:
    """The cloud accepts it. It is neither printed nor logged."""
    output = running_lab.up() + running_lab.run("status").stdout + running_lab.run("env").stdout
    secret = (running_lab.folder / "login.secret").read_text()
    with Store(running_lab.folder / "cloud.db") as store:
        client_id = store.principals.named("wisp-lab").client_id
        assert store.principals.check_secret(client_id, Secret(secret)) is SecretCheck.RIGHT
    assert secret not in output
    files = [path for path in running_lab.folder.rglob("*") if path.is_file() and path.name != "login.secret"]
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_lost_secret_is_replaced(lab: LabCommand) -> None:
    """And az logs in again."""
    lab.up()
    (lab.folder / "azure" / "wisp.login").touch()
    (lab.folder / "login.secret").unlink()
    lab.up()
    assert (lab.folder / "login.secret").read_text()
    assert not (lab.folder / "azure" / "wisp.login").exists()


def test_folder_with_other_content_is_left_alone(lab: LabCommand) -> None:
    """Neither `up` nor `down --purge` changes it."""
    lab.folder.mkdir()
    (lab.folder / "thesis.txt").write_text("years of work")
    done = lab.run("up", "--port=0")
    assert done.returncode == 2
    assert "is not a lab, and not empty\nhint: name another folder: --lab FOLDER" in done.stderr
    assert lab.run("down", "--purge").stdout == "No lab was running.\n"
    assert [path.name for path in lab.folder.iterdir()] == ["thesis.txt"]


def test_purge_leaves_nothing(lab: LabCommand) -> None:
    """Neither processes nor files."""
    lab.up()
    pid = lab.pid
    assert lab.run("down", "--purge").stdout == "The lab is deleted with all its data.\n"
    assert find_process(pid) is None
    assert not lab.folder.exists()


def test_env_fails_without_a_running_lab(lab: LabCommand, running_lab: LabCommand) -> None:
    """The shell that evaluates its output fails, too, so that `set -e` ends a script."""
    done = lab.run("env")
    assert (done.returncode, done.stdout) == (1, "false\n")
    assert done.stderr == f"error: no lab runs in {lab.folder}\nhint: `wisp lab up` starts it\n"
    done = running_lab.run("env", "--shell=fish")
    assert done.stdout.startswith(f"set -gx WISP_LAB '{running_lab.folder}'\n")
    assert running_lab.run("env", "--unset").stdout == "\n"


def test_commands_in_a_shell_of_the_lab_use_that_lab(new_lab: NewLab) -> None:
    """By WISP_LAB, without --lab."""
    lab = new_lab()
    lab.up()
    script = f'eval "$(wisp lab env --lab {shlex.quote(str(lab.folder))})"; wisp lab status; wisp lab down'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        env={"PATH": path, "HOME": str(lab.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"The lab is down; its data stays in {lab.folder}.\n")


def test_commands_that_start_a_lab_at_once_start_one_cloud(lab: LabCommand) -> None:
    """The others wait, and find it running."""
    lab.up()
    lab.run("down")
    command = [sys.executable, "-m", "wisp", "lab", "up", "--lab", str(lab.folder)]
    commands = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = sorted(process.communicate(timeout=PATIENCE)[0].partition(":")[0] for process in commands)
    assert outputs == ["The lab is up", "The lab runs already", "The lab runs already"]
    clouds = [process.pid for process in descendants(1) if str(lab.folder) in process.command]
    assert clouds == [lab.pid]


def test_failed_start_shows_the_end_of_the_log(lab: LabCommand) -> None:
    """And nothing runs."""
    lab.up()
    lab.run("down")
    (lab.folder / "cloud.db.ca.pem").unlink()
    (lab.folder / "cloud.db.ca.pem").mkdir()
    done = lab.run("up")
    assert done.returncode == 1
    assert "the CA's certificate cannot be written to" in done.stderr
    assert "error: the local cloud did not start\nhint: fix what its log reports (the lines above)" in done.stderr
    assert lab.status()["running"] is None


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["up", "--cluster", "--no-cluster"], "exclude each other"),
        (["up", "--kubeconfig", "x", "--cluster"], "exclude each other"),
        (["up", "--host", "no host"], "cannot listen on port 8443 of no host"),
    ],
)
def test_invalid_options_are_reported(lab: LabCommand, arguments: list[str], words: str) -> None:
    """Nothing is left running."""
    done = lab.run(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert lab.status()["running"] is None


def test_up_without_an_az_prints_how_to_install_it(new_lab: NewLab, tmp_path: Path) -> None:
    """The lab runs without it. The wrapper script of a lab does not count."""
    programs = tmp_path / "programs"
    programs.mkdir()
    lab = new_lab(PATH=f"{tmp_path / 'a lab' / 'bin'}:{programs}")
    hint = "there is no az on PATH: install Azure CLI, for example with `pip install azure-cli`"
    assert hint in lab.up()
    (programs / "az").write_text("#!/bin/sh\n")
    (programs / "az").chmod(0o755)
    assert hint not in lab.up()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "Missing argument 'IMAGE.tar...'"),
        (("-", "-"), "- is given more than once"),
        (("image.tar",), "has no cluster of its own to load images into\nhint: `wisp lab up --cluster` starts one"),
    ],
    ids=["nothing", "standard input twice", "no cluster"],
)
def test_images_that_cannot_be_loaded_are_reported(
    running_lab: LabCommand, arguments: tuple[str, ...], words: str
) -> None:
    """With the reason and what to do."""
    done = running_lab.run("load", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_images_are_not_read_from_a_terminal(running_lab: LabCommand) -> None:
    """The command would wait for an archive to be typed."""
    controller, terminal = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wisp", "lab", "load", "--lab", str(running_lab.folder), "-"],
            stdin=terminal,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert done.returncode == 2
    assert "standard input is a terminal: docker save NAME:TAG | wisp lab load -" in done.stderr
