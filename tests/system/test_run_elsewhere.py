"""`wisp run` with a real authority, in a private network, and as an ordinary user without tools."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import machine_state
from tests.support.needs import Missing, MissingSkip, need
from tests.support.private_network import private_network
from tests.support.waiting import PATIENCE, wait_until
from tests.support.wisp_run import DIALECTS, SDK, Runner
from tests.unit.wisp.redirect.pod import NEEDED
from wisp_local.cloud.issuer import service_account_token
from wisp_local.cloud.state.store import Store
from wisp_local.run.identity import PROJECTION

pytestmark = pytest.mark.system


@pytest.mark.needs("curl")
def test_real_authority_receives_the_given_identity_and_assertion(runner: Runner, tmp_path: Path) -> None:
    """A separate local cloud acts as Entra. Every client must send the header, as these tokens are valuable."""
    state, token = tmp_path / "entra.db", tmp_path / "assertion"
    serve = (sys.executable, "-m", "wisp", "cloud", "serve", "--state", str(state), "--port", "0", "--quiet")
    with subprocess.Popen(serve, stdout=subprocess.PIPE) as cloud, Store(state) as store:
        assert cloud.stdout is not None
        listening = json.loads(cloud.stdout.readline())
        store.put_resource_group("ci", "eastus")
        identity, issuer = store.put_identity("ci", "deployer", "eastus"), store.issuers.put("github")
        url = listening["url"] + issuer.path
        store.put_federated_credential(identity, "github", issuer=url, subject=PROJECTION.subject)
        token.write_text(service_account_token(issuer, url, PROJECTION, now=time.time()).reveal(), encoding="ascii")
        known = (
            "--tenant",
            identity.tenant_id,
            "--client-id",
            identity.client_id,
            "--authority-host",
            listening["url"],
        )
        files = ("--federated-token-file", str(token), "--authority-ca", listening["ca_file"])
        by_sdk = runner.run(*known, *files, "--", sys.executable, "-c", SDK)
        by_curl = runner.run(*known, *files, "--", "sh", "-c", DIALECTS)
        cloud.terminate()
    assert int(by_sdk.stdout) > time.time()
    assert by_curl.stdout.split() == ["200", "200", "401", "401", "401", "401"]
    assert not runner.state.exists()


INSIDE = """
import json, os, urllib.request
url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
request = urllib.request.Request(url, headers={"Metadata": "true"})
print(json.dumps({
    "kind": json.load(urllib.request.urlopen(request, timeout=120))["token_type"],
    "user": [os.getuid(), os.geteuid(), os.getgid()],
    "links": sorted(os.listdir("/proc/sys/net/ipv4/conf")),
    "variables": [name for name in os.environ if name.startswith(("IDENTITY_", "MSI_"))],
    "files": sorted(os.listdir("/proc/self/fd")),
    "capable": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
}))
"""


@pytest.fixture(name="machine")
def _machine() -> Iterator[None]:
    """Require root and the tools; afterwards nothing on the machine may have changed."""
    need(*NEEDED, "curl")
    with private_network():
        before = machine_state()
        yield
        wait_until(lambda: machine_state() == before, lambda: f"before: {before}; after: {machine_state()}")


@pytest.mark.usefixtures("machine")
def test_intercepted_command_of_root_reaches_only_the_metadata_service(runner: Runner) -> None:
    done = runner.run("--intercept", "--", sys.executable, "-c", INSIDE, IDENTITY_ENDPOINT="another")
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert (seen["kind"], seen["variables"], seen["user"]) == ("Bearer", [], [0, 0, 0])
    assert seen["files"] == ["0", "1", "2", "3"]
    assert seen["links"] == ["all", "default", "eth0", "lo"]
    assert runner.run("--intercept", "--", sys.executable, "-c", SDK).returncode == 0
    asking = "curl -s -m 5 -o /dev/null -w '%{http_code}' -H Metadata:true 169.254.169.254/metadata/instance"
    assert runner.run("--intercept", "--", "sh", "-c", asking).stdout == "404"


ELSEWHERE = f"""
import errno, socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    asking = socket.socket(socket.AF_INET, kind)
    asking.settimeout({PATIENCE} / 2)
    try:
        asking.connect(("192.0.2.53", 53))
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
"""
"""Connects to another host, by TCP and by UDP (as a lookup of a name does)."""


@pytest.mark.usefixtures("machine")
def test_intercepted_command_fails_at_once_to_reach_other_hosts(runner: Runner) -> None:
    """Without an error, a lookup would take 20 seconds, and a connection minutes."""
    assert runner.run("--intercept", "--", sys.executable, "-c", ELSEWHERE).stdout.split() == ["ENETUNREACH"] * 2


GUEST = 4321


@pytest.fixture(name="folder")
def _folder(machine: None) -> Iterator[Path]:  # noqa: ARG001 -- it checks the machine
    """Return a folder that a guest can enter (tests/support/guest.py), unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_guest(folder: Path, ids: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wisp run` as an ordinary user, in a hostile environment."""
    guest = (
        "unshare",
        "--mount",
        sys.executable,
        "-m",
        "tests.support.guest",
        str(folder),
        str(GUEST),
        ids,
    )
    command = (*guest, "-m", "wisp", "run", *arguments)
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE)


def test_intercepted_command_of_a_user_keeps_its_ids_without_capabilities(folder: Path) -> None:
    python = f"{folder}/image/image/python/bin/{Path(os.path.realpath(sys.executable)).name}"
    done = as_guest(folder, "none", "--intercept", "--", python, "-c", INSIDE)
    if "unshare failed" in done.stderr:
        raise MissingSkip(Missing("user namespaces for ordinary users", done.stderr.strip()))
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert (seen["kind"], seen["variables"], seen["user"]) == ("Bearer", [], [GUEST, GUEST, GUEST])
    assert seen["capable"] == ["0000000000000000"]


def test_impossible_interception_is_reported_with_the_reason(folder: Path) -> None:
    done = as_guest(folder, "forbidden", "--intercept", "--", "true")
    assert done.returncode == 3
    assert done.stderr.startswith("error: --intercept is not possible here (userns: unshare: unshare failed: ")
    assert done.stderr.endswith(")\nhint: run the command without it; see docs/how-to/run.md\n")
    assert done.stderr.count("\n") == 2


WITHOUT_TOOLS = """
import os, sys
os.environ["PATH"] = sys.argv[1]
os.environ["XDG_STATE_HOME"] = ""
os.execv(sys.executable, [sys.executable, "-m", "wisp", "run", "--", sys.executable, "-c", sys.argv[2]])
"""


def test_ordinary_user_without_tools_gets_a_token_and_a_private_state(folder: Path) -> None:
    guest = (
        "unshare",
        "--mount",
        sys.executable,
        "-m",
        "tests.support.guest",
        str(folder),
        str(GUEST),
        "forbidden",
    )
    empty = folder / "empty"
    empty.mkdir()
    command = (*guest, "-c", WITHOUT_TOOLS, str(empty), SDK)
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > time.time()
    state = folder / "home/.local/state/wisp"
    assert [(state.stat().st_uid, state.stat().st_mode & 0o777)] == [(GUEST, 0o700)]
    assert (state / "run.db").stat().st_mode & 0o777 == 0o600
