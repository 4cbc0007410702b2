"""`wisp demo` for real: every mode, as root and as an ordinary user, to its end and cut short."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import wisp
from tests.support.apart import apart
from tests.support.needs import Missing, MissingSkip, need
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.redirect.pod import NEEDED
from tests.unit.wisp_local.demo.traces import Process, descendants, look, members, now, own_namespaces
from wisp_local.demo.steps import STEPS

pytestmark = pytest.mark.system

GUEST = 4321
MIRID = "/resourcegroups/WorkloadIdentityRG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/wi-demo-identity"
MODES = ("root", "userns", "loopback")


@dataclass(frozen=True)
class Lab:
    """How a test runs demos: with this environment, and TMPDIR and HOME in `folder`, which anyone may enter."""

    folder: Path
    environment: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        """Write the command of a demo as root."""
        return [sys.executable, "-m", "wisp", "demo", *arguments]

    def as_guest(self, ids: str, *arguments: str) -> list[str]:
        """Write the command of a demo as an ordinary user; `ids` are explained in tests/support/guest.py."""
        guest = (
            "unshare",
            "--mount",
            sys.executable,
            "-m",
            "tests.support.guest",
            str(self.folder),
            str(GUEST),
            ids,
        )
        return [*guest, "-m", "wisp", "demo", *arguments]

    def run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a demo to its end."""
        environment = {**self.environment, **variables}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False, text=True, timeout=PATIENCE
        )

    @contextlib.contextmanager
    def reaching(self, step: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a demo, and go on when it begins `step`."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as started:
            assert started.stdout is not None
            number = [each.name for each in STEPS].index(step) + 1
            for line in started.stdout:
                if line.startswith(f"{number}/"):
                    break
            else:
                pytest.fail(f"{step} was never begun: {started.communicate()[1]}")
            yield started

    def left_over(self) -> list[str]:
        """Name the files that demos left where they may write."""
        return [str(each) for name in ("home", "tmp") for each in (self.folder / name).rglob("*")]


@pytest.fixture(name="lab")
def _lab() -> Iterator[Lab]:
    """Give demos a HOME, a TMPDIR and a network, and have the machine be as it was afterwards."""
    need(*NEEDED, "newuidmap")
    with apart(), tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        places = {"HOME": str(Path(folder, "home")), "TMPDIR": str(Path(folder, "tmp"))}
        lab = Lab(Path(folder), {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **places})
        before = look()
        yield lab
        assert look() == before
        assert lab.left_over() == []


@pytest.fixture(name="owned")
def _owned(lab: Lab) -> Lab:
    """Make HOME and TMPDIR for demos of root; a guest makes its own."""
    for name in ("home", "tmp"):
        (lab.folder / name).mkdir()
    return lab


def check_document(printed: str, mode: str) -> None:
    """Check the document of --json against what the walk-through promises."""
    assert printed.count("\n") == 1
    document = json.loads(printed)
    assert list(document) == ["mode", "access_token", "claims", "header", "steps"]
    assert document["mode"] == mode
    assert [step["name"] for step in document["steps"]] == [step.name for step in STEPS]
    assert all(set(step) == {"name", "seconds"} and step["seconds"] >= 0 for step in document["steps"])
    assert document["access_token"].count(".") == 2
    assert document["header"]["alg"] == "RS256"
    claims = document["claims"]
    assert claims["aud"] == "https://management.azure.com/"
    assert claims["xms_cae"] == "1"
    assert claims["xms_mirid"].endswith(MIRID)
    assert type(claims["xms_tcdt"]) is int


@pytest.mark.parametrize("mode", MODES)
def test_the_walk_through_ends_with_the_token(mode: str, owned: Lab) -> None:
    """Every mode tells the story to its end, and prints one document and nothing else."""
    ended = owned.run(owned.command("--mode", mode, "--json"))
    assert (ended.returncode, ended.stderr) == (0, "")
    check_document(ended.stdout, mode)


def test_root_is_used_when_there(owned: Lab) -> None:
    """Without --mode the best there is; what people read has every step, and the token nowhere."""
    ended = owned.run(owned.command())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\nMode root: " in ended.stdout
    assert [line for line in ended.stdout.splitlines() if line[1:3] == f"/{len(STEPS)}"] == [
        f"{number}/{len(STEPS)} {step.title}" for number, step in enumerate(STEPS, 1)
    ]
    assert MIRID in ended.stdout
    assert "\x1b" not in ended.stdout
    assert all(len(word) < 60 for word in ended.stdout.split() if word.startswith("eyJ"))


@pytest.mark.parametrize(
    "ids, mode, said",
    [
        pytest.param(
            "subordinate", "userns", ["the sidecar is uid 1501 in it, the application another"], id="subordinate"
        ),
        pytest.param(
            "none",
            "userns",
            ["not told apart", "  because: unshare: no line matching user", "  to get mode userns: usermod"],
            id="single",
        ),
        pytest.param(
            "forbidden",
            "loopback",
            [
                "processes on plain loopback",
                "  lost:    the pod and the redirect",
                "  because: unshare: unshare failed: No space left on device",
                "  to get mode userns: sysctl -w user.max_user_namespaces=",
            ],
            id="forbidden",
        ),
    ],
)
def test_without_root(ids: str, mode: str, said: list[str], lab: Lab) -> None:
    """An ordinary user gets the best that is possible, and is told what was lost and why, in a hostile environment."""
    _need_user_namespaces()
    ended = lab.run(lab.as_guest(ids))
    assert (ended.returncode, ended.stderr) == (0, "")
    description = ended.stdout.partition("\n\n")[0].splitlines()[1:]
    assert description[0].startswith(f"Mode {mode}: ")
    assert len(description) == len(said)
    assert all(expected in line for expected, line in zip(said, description, strict=True))
    assert MIRID in ended.stdout


@pytest.mark.parametrize("ids, mode", [("subordinate", "userns"), ("none", "userns"), ("forbidden", "loopback")])
def test_without_root_the_document_is_the_same(ids: str, mode: str, lab: Lab) -> None:
    """--json keeps its promise whatever was lost."""
    _need_user_namespaces()
    ended = lab.run(lab.as_guest(ids, "--json"))
    assert (ended.returncode, ended.stderr) == (0, "")
    check_document(ended.stdout, mode)


@pytest.mark.parametrize(
    "mode, said",
    [
        (
            "userns",
            "error: mode userns is not possible here (unshare: unshare failed: No space left on device)\nhint: ",
        ),
        ("root", "error: --mode root needs root\nhint: run it with sudo, or with --mode userns"),
    ],
)
def test_a_forced_mode_that_is_impossible_is_an_error(mode: str, said: str, lab: Lab) -> None:
    """It is refused with an error and a hint, and nothing is printed."""
    ended = lab.run(lab.as_guest("forbidden", "--mode", mode))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 2


def _need_user_namespaces() -> None:
    user = ("setpriv", f"--reuid={GUEST}", f"--regid={GUEST}", "--clear-groups")
    made = subprocess.run([*user, "unshare", "--user", "--map-root-user", "true"], capture_output=True, check=False)
    if made.returncode != 0:
        raise MissingSkip(Missing("user namespaces for ordinary users", made.stderr.decode().strip()))


@pytest.mark.parametrize("step", ["cluster", "curl"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "number, status",
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
    ids=["ctrl-c", "term", "hup", "kill"],
)
def test_cut_short_it_leaves_nothing(number: int, status: int, mode: str, step: str, owned: Lab) -> None:
    """No process, namespace or file is left, whatever ends it and whenever (the fixture looks at all else)."""
    with owned.reaching(step, "--mode", mode) as demo:
        seen = descendants(demo.pid)
        assert any("wisp_local.demo" in each.command for each in seen)
        os.killpg(demo.pid, number)
        assert demo.wait(PATIENCE) == status
        _, complaint = demo.communicate()
    assert "Traceback" not in complaint
    _assert_gone(seen)
    wait_until(lambda: owned.left_over() == [])


@pytest.mark.parametrize("mode", ["root", "userns"])
def test_the_kernel_cleans_up_when_nobody_can(mode: str, owned: Lab) -> None:
    """The inside is stopped, the outside killed: still nothing is left."""
    with owned.reaching("curl", "--mode", mode) as demo:
        seen = descendants(demo.pid)
        os.kill(_inside(seen).pid, signal.SIGSTOP)
        demo.kill()
    _assert_gone(seen)


@pytest.mark.parametrize("mode", MODES)
def test_an_inside_that_is_killed_is_told(mode: str, owned: Lab) -> None:
    """The demo says that it ended in the middle, and cleans up after it."""
    with owned.reaching("curl", "--mode", mode) as demo:
        seen = descendants(demo.pid)
        os.kill(_inside(seen).pid, signal.SIGKILL)
        _, complaint = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert complaint.startswith("error: the demo ended early (")
    _assert_gone(seen)


def _inside(seen: list[Process]) -> Process:
    """Find the lab's inside; a program that it is about to start looks like it for a moment, and is younger."""
    alike = [each for each in seen if "-m wisp_local.demo" in each.command and "unshare" not in each.command]
    return min(alike, key=lambda each: (int(each.started), each.pid))


def _assert_gone(seen: list[Process]) -> None:
    moment, namespaces = now(), own_namespaces(seen)
    wait_until(lambda: not any(each.is_there for each in seen), lambda: f"gone: {[e for e in seen if e.is_there]}")
    wait_until(lambda: members(namespaces, moment) == [])


def test_the_sidecar_is_a_user_of_its_own_without_privilege(owned: Lab) -> None:
    """It is uid 1501, has no capability, and is in namespaces that are not the machine's."""
    with owned.reaching("curl", "--mode", "root") as demo:
        [sidecar] = [each for each in descendants(demo.pid) if "wisp.proxy" in each.command]
        assert (sidecar.uid, sidecar.capabilities) == (1501, 0)
        assert len(own_namespaces([sidecar])) == 3


# Stands in for curl: writes down who runs it, with which variables, and what the token file says to it.
_SPY = """\
#!/bin/sh
[ "$1" = --version ] && exit
{ id -u; env; cat "$AZURE_FEDERATED_TOKEN_FILE" 2>&1; } > SPIED
exec REAL "$@"
"""


def _replace_curl(lab: Lab, script: str) -> str:
    """Put `script` first on a PATH, as curl; return that PATH."""
    tools = lab.folder / "tools"
    tools.mkdir()
    (tools / "curl").write_text(script, encoding="ascii")
    (tools / "curl").chmod(0o755)
    return f"{tools}:{os.environ['PATH']}"


def test_the_application_is_another_user_than_the_sidecar(owned: Lab) -> None:
    """It has the webhook's variables, and may not read the token that the sidecar exchanges."""
    spied = owned.folder / "spied"
    spied.touch(0o666)
    spied.chmod(0o666)
    script = _SPY.replace("SPIED", str(spied)).replace("REAL", str(shutil.which("curl")))
    ended = owned.run(owned.command("--json"), PATH=_replace_curl(owned, script))
    check_document(ended.stdout, "root")
    uid, *rest = spied.read_text(encoding="utf-8").splitlines()
    assert uid == "1000"
    assert "AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/wi/token/azure-identity-token" in rest
    assert {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST"} <= {line.split("=")[0] for line in rest}
    assert rest[-1].endswith("Permission denied")


def test_without_curl_the_standard_library_asks(owned: Lab) -> None:
    """The same request is made, and it is said that curl was replaced."""
    ended = owned.run(owned.command(), PATH=_replace_curl(owned, "#!/bin/sh\nexit 127\n"))
    assert ended.returncode == 0
    assert "by Python's standard library since curl cannot be run: GET http://169.254.169.254/metadata/" in ended.stdout
    assert MIRID in ended.stdout


def test_a_step_that_fails_is_told(owned: Lab) -> None:
    """Which step, what was heard, what to do: but no token, should one have been said."""
    heard = '{"error": "invalid_request", "token": "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln"}'
    ended = owned.run(owned.command(), PATH=_replace_curl(owned, f"#!/bin/sh\necho '{heard}'\n"))
    assert ended.returncode == 1
    assert '  {"error": "invalid_request", "token": "***"}\n' in ended.stderr
    assert "error: step curl failed: curl got no token (exit status 0)\nhint: " in ended.stderr


def test_two_at_once_do_not_meet(owned: Lab) -> None:
    """All modes at the same time, twice: each has addresses and files of its own."""
    commands = [owned.command("--mode", mode, "--json") for mode in (*MODES, *MODES)]
    with contextlib.ExitStack() as stack:
        demos = [
            stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, env=owned.environment, stdout=subprocess.PIPE, text=True)
            )
            for command in commands
        ]
        tokens = [json.loads(demo.communicate(timeout=PATIENCE)[0])["access_token"] for demo in demos]
    assert len(set(tokens)) == len(commands)


def test_a_closed_checkout_does(owned: Lab) -> None:
    """Files made with a umask of 077 are no hindrance: the sidecar and the application get a copy they can read."""
    closed = owned.folder / "closed"
    shutil.copytree(Path(wisp.__file__).parent, closed / "wisp", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (closed, *closed.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    ended = owned.run(owned.command("--json"), PYTHONPATH=str(closed))
    assert (ended.returncode, ended.stderr) == (0, "")
    check_document(ended.stdout, "root")


def test_colour_is_for_terminals_that_want_it(owned: Lab) -> None:
    """On a terminal there is colour, unless NO_COLOR is set."""
    shown = {value: _on_a_terminal(owned, value) for value in ("", "1")}
    assert b"\x1b[1m1/7 " in shown[""]
    assert b"\x1b[" not in shown["1"]


def test_the_documentation_shows_what_is_printed(owned: Lab) -> None:
    """The blocks in docs/tutorials/demo.md are parts of it, except for ids, keys and times."""
    text = (ROOT / "docs/tutorials/demo.md").read_text(encoding="utf-8")
    shown = _without_chance(owned.run(owned.command()).stdout)
    blocks = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        assert _without_chance(block) in shown
    [script] = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert owned.run(["bash", "-c", script], PATH=path).stdout.strip().endswith(MIRID)


def _without_chance(text: str) -> str:
    """Leave out of a text what differs from one demo to the next."""
    for pattern in (
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"\b[12]\d{9}\b",
        r"[\d-]{10} [\d:]{8} UTC",
        r"\d+\.\d s",
        r"[\d,]+ characters",
        r"(?<=key )[\w-]{27}",
        r'(?<=")[\w.-]{20,}(?=")',
    ):
        text = re.sub(pattern, "...", text)
    return text


def _on_a_terminal(lab: Lab, no_color: str) -> bytes:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        lab.command("--mode", "loopback"), cwd=ROOT, env={**lab.environment, "NO_COLOR": no_color}, stdout=theirs
    ) as demo:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # what a terminal says when nobody writes to it any more
            while said := os.read(ours, 65536):
                shown += said
        os.close(ours)
        assert demo.wait(PATIENCE) == 0
    return shown
