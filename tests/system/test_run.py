"""Slow tests of `wisp run`: dialects, identities, errors, terminals, and cleanup."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakes import CLIENT_ID, jwt
from tests.support.paths import ROOT
from tests.support.terminal import Terminal, shell
from tests.support.waiting import PATIENCE, wait_until
from tests.support.wisp_run import DIALECTS, WISP, Runner
from wisp_local.cloud.state.authority import new_authority
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.system


MSAL = """
import msal, requests
client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
print(client.acquire_token_for_client(resource="https://vault.azure.net")["token_type"])
"""


def test_msal_gets_a_token(runner: Runner) -> None:
    done = runner.run("--", sys.executable, "-c", MSAL)
    assert (done.stdout, done.stderr) == ("Bearer\n", "")


@pytest.mark.needs("curl")
def test_every_dialect_gets_a_token_only_with_the_right_header(runner: Runner) -> None:
    """App Service of 2019 and 2017, the metadata service and Cloud Shell; then a wrong header, and no header."""
    done = runner.run("--", "sh", "-c", DIALECTS)
    assert done.stdout.split() == ["200", "200", "200", "200", "401", "401"]


TOKEN = 'curl -s -H Metadata:true "$IDENTITY_ENDPOINT?api-version=2018-02-01&resource=https://vault.azure.net"'


@pytest.mark.needs("curl")
def test_identity_is_created_by_name_and_selected_by_client_id(runner: Runner) -> None:
    named, again = (json.loads(runner.run("--identity", "my-app", "--", "sh", "-c", TOKEN).stdout) for _ in range(2))
    assert named["client_id"] == again["client_id"]
    chosen = runner.run("--client-id", named["client_id"], "--token-lifetime", "600", "--", "sh", "-c", TOKEN)
    assert json.loads(chosen.stdout)["client_id"] == named["client_id"]
    assert int(json.loads(chosen.stdout)["expires_in"]) <= 600 < int(again["expires_in"])
    unknown = runner.run("--client-id", CLIENT_ID, "--", "true")
    assert unknown.returncode == 1
    assert (
        f"no identity in {runner.state} has the client id {CLIENT_ID}\nhint: wisp cloud identity list" in unknown.stderr
    )


def test_verbose_prints_endpoint_state_and_log(runner: Runner) -> None:
    done = runner.run("-v", "--", "sh", "-c", "echo $IDENTITY_ENDPOINT")
    [log] = runner.logs.iterdir()
    [_, *rest] = done.stderr.splitlines()
    assert rest == [
        f"wisp: tokens are at {done.stdout.strip()}",
        f"wisp: the local cloud's state is {runner.state}",
        f"wisp: the log is {log}",
    ]


def test_header_is_in_no_command_line_and_no_log(runner: Runner) -> None:
    with runner.start("--", "sh", "-c", "echo $IDENTITY_HEADER; exec sleep 60") as process:
        assert process.stdout is not None
        header = process.stdout.readline().strip()
        serving = runner.serving()
        assert len(serving) >= 3
        assert all(header not in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") for pid in serving)
        process.kill()
    assert len(header) > 40
    assert header not in runner.log_text()


@pytest.mark.parametrize("program, name", [("wisp.proxy", "sidecar"), ("wisp cloud serve", "local cloud")])
def test_component_that_ends_is_reported_and_the_command_continues(program: str, name: str, runner: Runner) -> None:
    with runner.start("--", "sh", "-c", "echo begun; read line; exit 7", stdin=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        [component] = [pid for pid in runner.serving() if program in _command(pid)]
        os.kill(component, signal.SIGKILL)
        [log] = runner.logs.iterdir()
        warning = f"warning: the {name} has ended, and the command gets no new tokens; its log is {log}\n"
        assert process.stderr.readline() == warning
        wait_until(lambda: not Path(f"/proc/{component}").exists())  # nor as a zombie
        process.stdin.write("go on\n")
        process.stdin.close()
        assert (process.wait(PATIENCE), process.stderr.read()) == (7, "")


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.needs("curl")
def test_without_a_state_folder_tokens_are_served_and_nothing_is_left(runner: Runner, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = runner.run(
        "--", "sh", "-c", f"{TOKEN} -o /dev/null -w '%{{http_code}}'", TMPDIR=str(temporary), XDG_STATE_HOME="/proc"
    )
    assert (done.returncode, done.stdout) == (0, "200")
    assert done.stderr.startswith("note: the local cloud and its identity are deleted when the command ends (")
    assert done.stderr.count("\n") == 1
    wait_until(lambda: not list(temporary.iterdir()))


def test_log_of_a_failed_component_is_printed_before_the_error(runner: Runner, tmp_path: Path) -> None:
    token, ca = tmp_path / "token", tmp_path / "ca.pem"
    token.write_text(jwt(), encoding="ascii")
    ca.touch()
    real = ("--tenant", "t", "--client-id", CLIENT_ID, "--federated-token-file", str(token), "--authority-ca", str(ca))
    done = runner.run(*real, "--", "true")
    assert done.returncode == 1
    reason, log_hint, error, hint = done.stderr.splitlines()
    assert reason.endswith(f"error: --authority-ca '{ca}' holds no certificate")
    assert log_hint.endswith("hint: name a file in PEM form")
    assert error == "error: the sidecar did not become ready"
    assert hint.startswith("hint: ")


REQUESTS = """
base=${IDENTITY_ENDPOINT%%/metadata/*}
for path in readyz metrics metadata/instance metadata/scheduledevents; do
    for header in "X: y" "X-IDENTITY-HEADER: wrong"; do
        curl -s -o /dev/null -w '%{http_code} ' -H Metadata:true -H "$header" "$base/$path"
    done
done
curl -s -o /dev/null -w '%{http_code} ' -X POST -H Metadata:true "$base/$path"
curl -s -o /dev/null -w '%{http_code}' -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" "$base/metrics"
"""


@pytest.mark.needs("curl")
def test_real_authority_closes_every_path_to_other_users(runner: Runner, tmp_path: Path) -> None:
    """Other users of this machine do not know the header: for them, only the health endpoints answer."""
    token = tmp_path / "token"
    token.write_text(jwt(), encoding="ascii")
    real = ("--tenant", "t", "--client-id", CLIENT_ID, "--federated-token-file", str(token))
    done = runner.run(*real, "--", "sh", "-c", REQUESTS)
    assert done.stdout.split() == ["200", "200", *["401"] * 7, "200"]


def test_invalid_state_file_is_rejected(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(new_authority(0).certificate_pem * 9)
    done = runner.run("--state", str(file), "--", "true")
    assert done.returncode == 2
    assert f"the state file {file} cannot be used (" in done.stderr


@pytest.fixture(name="terminal")
def _terminal(runner: Runner) -> Iterator[Terminal]:
    """Return a terminal with a shell in which `run` is `wisp run`, and whose state exists already."""
    runner.run("--", "true")
    with shell(runner.environment) as terminal:
        terminal.enter(f'run() {{ {" ".join(WISP)} -- "$@"; }}')
        terminal.prompt()
        yield terminal


@pytest.mark.parametrize(
    "keys, status", [("\x03", 128 + signal.SIGINT), ("\x1c", 128 + signal.SIGQUIT)], ids=["ctrl-c", "ctrl-backslash"]
)
def test_keys_of_the_terminal_end_the_command(keys: str, status: int, terminal: Terminal) -> None:
    terminal.enter("run sh -c 'echo be''gun; exec sleep 60'")
    terminal.expect("begun\r\n")
    terminal.press(keys)
    terminal.prompt()
    terminal.enter("echo status $?.")
    terminal.expect(rf"status {status}\.\r\n")


@pytest.mark.needs("curl")
def test_stopped_command_continues_and_gets_tokens(terminal: Terminal, runner: Runner) -> None:
    """Ctrl-Z stops the command but not the services."""
    terminal.enter(
        "run sh -c 'echo be''gun; read line; curl -s -o /dev/null -w \"%{http_code}.\" -H Metadata:true $IDENTITY_ENDPOINT?api-version=2018-02-01\\&resource=https://vault.azure.net'"
    )
    terminal.expect("begun\r\n")
    terminal.press("\x1a")
    terminal.expect("Stopped")
    assert len(runner.serving()) >= 3
    terminal.enter("fg")
    terminal.enter("a line")
    terminal.expect(r"200\.")


WATCH_THE_WINDOW = """
import os, signal
signal.signal(signal.SIGWINCH, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print("group", os.getpgrp() == os.tcgetpgrp(0), flush=True)
signal.sigwait({signal.SIGWINCH})
print("now", *os.get_terminal_size())
"""


def test_command_is_in_the_foreground_and_notified_of_the_window_size(terminal: Terminal, tmp_path: Path) -> None:
    program = tmp_path / "watch.py"
    program.write_text(WATCH_THE_WINDOW, encoding="ascii")
    terminal.enter(f"run {sys.executable} {program}")
    terminal.expect("group True\r\n")
    terminal.resize(31, 97)
    terminal.expect("now 97 31\r\n")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name
)
def test_signal_ends_the_command_and_its_services(number: signal.Signals, runner: Runner) -> None:
    """The fixture checks the services."""
    with runner.start("--", "sh", "-c", "echo begun; exec sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert len(runner.serving()) >= 3
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number


def test_command_killed_during_the_start_leaves_nothing(runner: Runner) -> None:
    with runner.start("--", "sleep", "60") as process:
        wait_until(lambda: len(runner.serving()) > 0)
        process.kill()


def test_killed_attendant_leaves_nothing_and_the_command_continues(runner: Runner) -> None:
    with runner.start("--", "sh", "-c", "echo begun; read line", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "begun\n"
        [attendant] = [pid for pid in runner.serving() if "-m wisp_local.run" in _command(pid)]
        os.kill(attendant, signal.SIGKILL)
        wait_until(lambda: runner.serving() == [])
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def _open_files(pid: int) -> Iterator[Path]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            yield descriptor.readlink()


@pytest.mark.needs("root")  # to look at the descriptors of processes whose memory is closed
def test_readers_of_the_output_do_not_wait_for_the_services(runner: Runner) -> None:
    """Only the attendant has the standard error of the command, for warnings, and it ends with the command."""
    with runner.start("--", "sh", "-c", "echo begun; read line", stdin=-1, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "begun\n"
        pipe = Path(f"/proc/self/fd/{process.stdout.fileno()}").readlink()
        serving = runner.serving()
        assert len(serving) >= 3
        assert ["-m wisp_local.run" in _command(pid) for pid in serving if pipe in _open_files(pid)] == [True]
        process.stdin.close()
        assert process.stdout.read() == ""


@pytest.mark.needs("curl")
def test_simultaneous_runs_share_one_identity_and_one_key(runner: Runner) -> None:
    asks = ("sh", "-c", f"{TOKEN}")
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(runner.start("--", *asks)) for _ in range(4)]
        answers = [json.loads(process.communicate(timeout=PATIENCE)[0]) for process in processes]
    assert len({answer["client_id"] for answer in answers}) == 1
    assert len({answer["access_token"] for answer in answers}) == 4
    with Store(runner.state) as store:
        assert len(store.issuers.token_keys()) == len(store.identities()) == 1


@pytest.mark.needs("curl")
def test_closed_streams_stay_closed_for_the_command(runner: Runner) -> None:
    script = f"{' '.join(WISP)} -- sh -c 'test ! -e /proc/self/fd/0 || echo open; {TOKEN} >&3' 3>&1 <&- 2>&-"
    done = subprocess.run(
        ["sh", "-c", script], env=dict(runner.environment), capture_output=True, check=False, text=True
    )
    assert "access_token" in json.loads(done.stdout)


@pytest.mark.needs("curl")
def test_documented_examples_work(runner: Runner) -> None:
    """The last one prints the token of a resource of the tenant."""
    text = (ROOT / "docs/how-to/run.md").read_text(encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{runner.environment['PATH']}"
    environment = {"PATH": path, "HOME": runner.environment["HOME"], "PYTHONDONTWRITEBYTECODE": "1"}
    output = []
    for script in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        command = ["bash", "-euc", script]
        done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, "")
        output.append(done.stdout.splitlines())
    assert int(output[0][0]) > time.time()
    assert json.loads(output[-1][-1])["resource"] == "api://my-api"
