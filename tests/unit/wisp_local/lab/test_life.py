"""A lab's life, by its real processes."""

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp_local.demo.traces import descendants
from tests.unit.wisp_local.lab.conftest import NewLab
from tests.unit.wisp_local.lab.lab import Lab
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import SecretCheck
from wisp_local.cloud.state.store import Store
from wisp_local.sandbox.lasting import lasting

pytestmark = pytest.mark.system


def test_up_status_down(lab: Lab) -> None:
    """The cloud outlives the command; down ends it, and keeps what it kept."""
    said = lab.up()
    assert "The lab is up: a local Azure at https://127.0.0.1:" in said
    assert f"wisp lab env --lab={shlex.quote(str(lab.folder))}" in said
    assert lab.answers()
    status = lab.status()
    assert (status["problems"], status["identities"], status["clusters"]) == ([], 0, 0)
    assert (status["cluster"], status["running"]["page"]) == (
        {"kind": "none", "kubeconfig": None},
        f"{lab.url}/",
    )
    pid = lab.pid
    assert lab.run("down").stdout == f"The lab is down; what it kept is in {lab.folder}.\n"
    assert lasting(pid) is None
    assert "the lab is down" in lab.status()["problems"][0]
    assert lab.run("down").stdout == "No lab was running.\n"


def test_up_twice_is_as_once(standing: Lab) -> None:
    """It says so, and the process is the same."""
    pid = standing.pid
    assert "The lab runs already: a local Azure at" in standing.up()
    assert standing.pid == pid


def test_after_down_it_is_the_same_again(lab: Lab) -> None:
    """Address, keys, tenant, login and resources."""
    lab.up()
    with Store(lab.folder / "cloud.db") as store:
        store.put_resource_group("g", "eastus")
        store.put_identity("g", "app", "eastus")
    before = lab.url, _kept(lab)
    lab.run("down")
    lab.up()
    assert (lab.url, _kept(lab)) == before
    assert lab.status()["identities"] == 1
    assert lab.answers()


def test_a_cloud_that_was_killed_comes_back_the_same(lab: Lab) -> None:
    """Status says that it has ended and what to do; up starts it again at its address."""
    lab.up()
    before = lab.url, _kept(lab)
    (lab.folder / "azure" / "wisp.login").touch()
    os.kill(lab.pid, 9)
    wait_until(lambda: lab.status()["running"] is None)
    assert "has ended by itself: `wisp lab up` starts it again" in lab.status()["problems"][0]
    assert "The lab is up" in lab.up()
    assert (lab.url, _kept(lab)) == before
    assert lab.answers()
    assert (lab.folder / "azure" / "wisp.login").exists()


def _kept(lab: Lab) -> tuple[str, list[str], bytes, str]:
    """Return what a client leans on: tenant, token keys, CA, secret."""
    with Store(lab.folder / "cloud.db") as store:
        keys = [each.key_id for each in store.issuers.token_keys()]
        certificate = store.authority.certificate_pem
        return store.tenant().id, keys, certificate, (lab.folder / "login.secret").read_text()


def test_two_labs_side_by_side(new_lab: NewLab) -> None:
    """They share nothing, and the end of one is none of the other's."""
    one, other = new_lab("one"), new_lab("other")
    one.up()
    other.up()
    assert one.url != other.url
    assert _kept(one) != _kept(other)
    one.run("down")
    assert other.answers()


def test_another_process_with_its_number_is_left_alone(lab: Lab) -> None:
    """After a restart of the machine the number is somebody else's."""
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


def test_a_port_that_is_taken_is_said_at_once(lab: Lab) -> None:
    """The address is what everything depends on, so it never changes by itself; nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = lab.run("up", f"--port={port}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: cannot listen on port {port} of 127.0.0.1 (Address already in use)\n"
        "hint: choose another --host or --port; --port 0 takes a free one, and the lab keeps it\n"
    )
    assert "no lab here" in lab.status()["problems"][0]


def test_a_running_lab_does_not_move(lab: Lab) -> None:
    """Another port is an error that says what to do; then it is another."""
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


def test_it_listens_for_others_too(lab: Lab) -> None:
    """At the address that is given, and that is the one that they are told."""
    lab.up("--host=127.0.0.2")
    running = lab.status()["running"]
    assert running["url"].startswith("https://127.0.0.1:")
    assert running["advertisedUrl"].startswith("https://127.0.0.2:")
    assert lab.answers()


def test_nobody_else_can_read_it(lab: Lab) -> None:
    """The folder is closed, and the secret besides, even where the folder was there and open."""
    lab.folder.mkdir(mode=0o755)
    lab.up()
    assert stat.S_IMODE(lab.folder.stat().st_mode) == 0o700
    for name in ("login.secret", "lab.json", "logs/cloud.log"):
        assert stat.S_IMODE((lab.folder / name).stat().st_mode) == 0o600


def test_the_secret_is_in_its_file_alone(standing: Lab) -> None:
    """It is one that the cloud takes, and is nowhere else: neither said nor logged."""
    said = standing.up() + standing.run("status").stdout + standing.run("env").stdout
    secret = (standing.folder / "login.secret").read_text()
    with Store(standing.folder / "cloud.db") as store:
        client_id = store.principals.named("wisp-lab").client_id
        assert store.principals.check_secret(client_id, Secret(secret)) is SecretCheck.RIGHT
    assert secret not in said
    files = [each for each in standing.folder.rglob("*") if each.is_file() and each.name != "login.secret"]
    assert not [each for each in files if secret.encode() in each.read_bytes()]


def test_a_lost_secret_is_made_anew(lab: Lab) -> None:
    """And az logs in again."""
    lab.up()
    (lab.folder / "azure" / "wisp.login").touch()
    (lab.folder / "login.secret").unlink()
    lab.up()
    assert (lab.folder / "login.secret").read_text()
    assert not (lab.folder / "azure" / "wisp.login").exists()


def test_a_folder_of_something_else_is_left_alone(lab: Lab) -> None:
    """Neither up nor down --purge touches it."""
    lab.folder.mkdir()
    (lab.folder / "thesis.txt").write_text("years of work")
    done = lab.run("up", "--port=0")
    assert done.returncode == 2
    assert "is no lab, and not empty\nhint: name another folder: --lab FOLDER" in done.stderr
    assert lab.run("down", "--purge").stdout == "No lab was running.\n"
    assert [each.name for each in lab.folder.iterdir()] == ["thesis.txt"]


def test_purge_leaves_nothing(lab: Lab) -> None:
    """Processes and files."""
    lab.up()
    pid = lab.pid
    assert lab.run("down", "--purge").stdout == "The lab is gone, with all that it kept.\n"
    assert lasting(pid) is None
    assert not lab.folder.exists()


def test_env_is_for_a_running_lab(lab: Lab, standing: Lab) -> None:
    """What a shell evaluates fails where there is none, so that `set -e` ends a script."""
    done = lab.run("env")
    assert (done.returncode, done.stdout) == (1, "false\n")
    assert done.stderr == f"error: no lab runs in {lab.folder}\nhint: `wisp lab up` starts it\n"
    done = standing.run("env", "--shell=fish")
    assert done.stdout.startswith(f"set -gx WISP_LAB '{standing.folder}'\n")
    assert standing.run("env", "--unset").stdout == "\n"


def test_a_shell_that_entered_means_that_lab(new_lab: NewLab) -> None:
    """Without --lab, by WISP_LAB."""
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
    assert done.stdout.endswith(f"The lab is down; what it kept is in {lab.folder}.\n")


def test_two_that_start_it_at_once_start_one(lab: Lab) -> None:
    """The second waits, and finds it running."""
    lab.up()
    lab.run("down")
    command = [sys.executable, "-m", "wisp", "lab", "up", "--lab", str(lab.folder)]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = sorted(each.communicate(timeout=PATIENCE)[0].partition(":")[0] for each in several)
    assert said == ["The lab is up", "The lab runs already", "The lab runs already"]
    clouds = [each for each in descendants(1) if str(lab.folder) in each.command]
    assert [each.pid for each in clouds] == [lab.pid]


def test_a_start_that_fails_shows_why(lab: Lab) -> None:
    """The end of the cloud's log is there, and nothing runs."""
    lab.up()
    lab.run("down")
    (lab.folder / "cloud.db.ca.pem").unlink()
    (lab.folder / "cloud.db.ca.pem").mkdir()
    done = lab.run("up")
    assert done.returncode == 1
    assert "the CA's certificate cannot be written to" in done.stderr
    assert "error: the local cloud did not start\nhint: its last words are above" in done.stderr
    assert lab.status()["running"] is None


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["up", "--cluster", "--no-cluster"], "exclude each other"),
        (["up", "--kubeconfig", "x", "--cluster"], "exclude each other"),
        (["up", "--host", "no host"], "cannot listen on port 8443 of no host"),
    ],
)
def test_what_cannot_be_is_said(lab: Lab, arguments: list[str], words: str) -> None:
    """Nothing is left running."""
    done = lab.run(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert lab.status()["running"] is None


def test_without_an_az_up_says_how_to_install_it(new_lab: NewLab, tmp_path: Path) -> None:
    """The lab stands without it. The az of the lab itself, or of another, is not one."""
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
def test_images_that_cannot_be_loaded(standing: Lab, arguments: tuple[str, ...], words: str) -> None:
    """The reason is given, and what to do."""
    done = standing.run("load", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_images_are_not_read_from_a_terminal(standing: Lab) -> None:
    """The command would wait for an archive to be typed."""
    controller, terminal = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wisp", "lab", "load", "--lab", str(standing.folder), "-"],
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
