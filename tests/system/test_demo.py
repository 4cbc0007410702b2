"""`wisp demo` itself: every mode, as root and as an ordinary user, to its end and interrupted."""

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
import wisp_local
from tests.support.machine import Process, descendants, machine_state, members, own_namespaces, ticks_since_boot
from tests.support.needs import Missing, MissingSkip, need
from tests.support.paths import ROOT
from tests.support.private_network import private_network
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.redirect.pod import NEEDED
from wisp_local.demo.steps import STEPS

pytestmark = pytest.mark.system

GUEST = 4321
MIRID = "/resourcegroups/WorkloadIdentityRG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/wi-demo-identity"
MODES = ("root", "userns", "loopback")


@dataclass(frozen=True)
class DemoRunner:
    """Runs demos with this environment. TMPDIR and HOME are in `folder`, which every user can enter."""

    folder: Path
    environment: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        """Return the command of a demo as root."""
        return [sys.executable, "-m", "wisp", "demo", *arguments]

    def as_guest(self, ids: str, *arguments: str) -> list[str]:
        """Return the command of a demo as an ordinary user; tests/support/guest.py describes `ids`."""
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
        """Start a demo, and return it when it starts `step`."""
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
            number = [known.name for known in STEPS].index(step) + 1
            for line in started.stdout:
                if line.startswith(f"{number}/"):
                    break
            else:
                pytest.fail(f"{step} did not start: {started.communicate()[1]}")
            yield started

    def left_over(self) -> list[str]:
        """Return the files that demos left where they can write."""
        return [str(path) for name in ("home", "tmp") for path in (self.folder / name).rglob("*")]


@pytest.fixture(name="demos")
def _demos() -> Iterator[DemoRunner]:
    """Return a runner with a HOME, a TMPDIR and a network; afterwards nothing on it may have changed."""
    need(*NEEDED, "newuidmap")
    with private_network(), tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        folders = {"HOME": str(Path(folder, "home")), "TMPDIR": str(Path(folder, "tmp"))}
        demos = DemoRunner(Path(folder), {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **folders})
        before = machine_state()
        yield demos
        assert machine_state() == before
        assert demos.left_over() == []


@pytest.fixture(name="root_demos")
def _root_demos(demos: DemoRunner) -> DemoRunner:
    """Create HOME and TMPDIR for demos of root; a guest creates its own."""
    for name in ("home", "tmp"):
        (demos.folder / name).mkdir()
    return demos


def check_document(printed: str, mode: str) -> None:
    """Check the document of --json against the claims of the walk-through."""
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
def test_every_mode_prints_one_document_with_the_token(mode: str, root_demos: DemoRunner) -> None:
    result = root_demos.run(root_demos.command("--mode", mode, "--json"))
    assert (result.returncode, result.stderr) == (0, "")
    check_document(result.stdout, mode)


def test_root_gets_root_mode_and_the_token_is_not_printed(root_demos: DemoRunner) -> None:
    result = root_demos.run(root_demos.command())
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nMode root: " in result.stdout
    assert [line for line in result.stdout.splitlines() if line[1:3] == f"/{len(STEPS)}"] == [
        f"{number}/{len(STEPS)} {step.title}" for number, step in enumerate(STEPS, 1)
    ]
    assert MIRID in result.stdout
    assert "\x1b" not in result.stdout
    assert all(len(word) < 60 for word in result.stdout.split() if word.startswith("eyJ"))


@pytest.mark.parametrize(
    "ids, mode, expected",
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
def test_ordinary_user_gets_the_best_mode_with_the_reason(
    ids: str, mode: str, expected: list[str], demos: DemoRunner
) -> None:
    _need_user_namespaces()
    result = demos.run(demos.as_guest(ids))
    assert (result.returncode, result.stderr) == (0, "")
    description = result.stdout.partition("\n\n")[0].splitlines()[1:]
    assert description[0].startswith(f"Mode {mode}: ")
    assert len(description) == len(expected)
    assert all(text in line for text, line in zip(expected, description, strict=True))
    assert MIRID in result.stdout


@pytest.mark.parametrize("ids, mode", [("subordinate", "userns"), ("none", "userns"), ("forbidden", "loopback")])
def test_document_is_the_same_without_root(ids: str, mode: str, demos: DemoRunner) -> None:
    _need_user_namespaces()
    result = demos.run(demos.as_guest(ids, "--json"))
    assert (result.returncode, result.stderr) == (0, "")
    check_document(result.stdout, mode)


@pytest.mark.parametrize(
    "mode, expected",
    [
        (
            "userns",
            "error: mode userns is not possible here (unshare: unshare failed: No space left on device)\nhint: ",
        ),
        ("root", "error: --mode root needs root\nhint: run it with sudo, or with --mode userns"),
    ],
)
def test_impossible_forced_mode_is_an_error(mode: str, expected: str, demos: DemoRunner) -> None:
    result = demos.run(demos.as_guest("forbidden", "--mode", mode))
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == 2


def _need_user_namespaces() -> None:
    user = ("setpriv", f"--reuid={GUEST}", f"--regid={GUEST}", "--clear-groups")
    unshared = subprocess.run([*user, "unshare", "--user", "--map-root-user", "true"], capture_output=True, check=False)
    if unshared.returncode != 0:
        raise MissingSkip(Missing("user namespaces for ordinary users", unshared.stderr.decode().strip()))


@pytest.mark.parametrize("step", ["cluster", "curl"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "number, status",
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
    ids=["ctrl-c", "term", "hup", "kill"],
)
def test_interrupted_demo_leaves_nothing(
    number: int, status: int, mode: str, step: str, root_demos: DemoRunner
) -> None:
    """No process, namespace or file is left; the fixture checks the rest of the machine."""
    with root_demos.reaching(step, "--mode", mode) as demo:
        processes = descendants(demo.pid)
        assert any("wisp_local.demo" in process.command for process in processes)
        os.killpg(demo.pid, number)
        assert demo.wait(PATIENCE) == status
        _, errors = demo.communicate()
    assert "Traceback" not in errors
    _assert_gone(processes)
    wait_until(lambda: root_demos.left_over() == [])


@pytest.mark.parametrize("mode", ["root", "userns"])
def test_kernel_cleans_up_when_no_process_can(mode: str, root_demos: DemoRunner) -> None:
    """The process in the namespaces is stopped, and the command is killed."""
    with root_demos.reaching("curl", "--mode", mode) as demo:
        processes = descendants(demo.pid)
        os.kill(_inside(processes).pid, signal.SIGSTOP)
        demo.kill()
    _assert_gone(processes)


@pytest.mark.parametrize("mode", MODES)
def test_killed_inside_is_reported_and_cleaned_up(mode: str, root_demos: DemoRunner) -> None:
    with root_demos.reaching("curl", "--mode", mode) as demo:
        processes = descendants(demo.pid)
        os.kill(_inside(processes).pid, signal.SIGKILL)
        _, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert errors.startswith("error: the demo ended early (")
    _assert_gone(processes)


def _inside(processes: list[Process]) -> Process:
    """Return the process that runs the steps; a program that it forks looks like it for a moment, and is younger."""
    alike = [
        process for process in processes if "-m wisp_local.demo" in process.command and "unshare" not in process.command
    ]
    return min(alike, key=lambda process: (int(process.started), process.pid))


def _assert_gone(processes: list[Process]) -> None:
    moment, namespaces = ticks_since_boot(), own_namespaces(processes)
    wait_until(
        lambda: not any(process.is_there for process in processes),
        lambda: f"gone: {[e for e in processes if e.is_there]}",
    )
    wait_until(lambda: members(namespaces, moment) == [])


def test_sidecar_has_a_separate_user_and_no_capabilities(root_demos: DemoRunner) -> None:
    with root_demos.reaching("curl", "--mode", "root") as demo:
        [sidecar] = [process for process in descendants(demo.pid) if "wisp.proxy" in process.command]
        assert (sidecar.uid, sidecar.capabilities) == (1501, 0)
        assert len(own_namespaces([sidecar])) == 3


# Replaces curl: records its user, its variables, and the attempt to read the token file.
_SPY = """\
#!/bin/sh
[ "$1" = --version ] && exit
{ id -u; env; cat "$AZURE_FEDERATED_TOKEN_FILE" 2>&1; } > SPIED
exec REAL "$@"
"""


def _replace_curl(demos: DemoRunner, script: str) -> str:
    """Return a PATH on which `script` replaces curl."""
    tools = demos.folder / "tools"
    tools.mkdir()
    (tools / "curl").write_text(script, encoding="ascii")
    (tools / "curl").chmod(0o755)
    return f"{tools}:{os.environ['PATH']}"


def test_application_cannot_read_the_token_file_of_the_sidecar(root_demos: DemoRunner) -> None:
    spied = root_demos.folder / "spied"
    spied.touch(0o666)
    spied.chmod(0o666)
    script = _SPY.replace("SPIED", str(spied)).replace("REAL", str(shutil.which("curl")))
    result = root_demos.run(root_demos.command("--json"), PATH=_replace_curl(root_demos, script))
    check_document(result.stdout, "root")
    uid, *rest = spied.read_text(encoding="utf-8").splitlines()
    assert uid == "1000"
    assert "AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/wi/token/azure-identity-token" in rest
    assert {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST"} <= {line.split("=")[0] for line in rest}
    assert rest[-1].endswith("Permission denied")


def test_standard_library_replaces_a_missing_curl(root_demos: DemoRunner) -> None:
    result = root_demos.run(root_demos.command(), PATH=_replace_curl(root_demos, "#!/bin/sh\nexit 127\n"))
    assert result.returncode == 0
    assert (
        "by Python's standard library since curl cannot be run: GET http://169.254.169.254/metadata/" in result.stdout
    )
    assert MIRID in result.stdout


def test_failed_step_is_reported_with_masked_output(root_demos: DemoRunner) -> None:
    output = '{"error": "invalid_request", "token": "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln"}'
    result = root_demos.run(root_demos.command(), PATH=_replace_curl(root_demos, f"#!/bin/sh\necho '{output}'\n"))
    assert result.returncode == 1
    assert '  {"error": "invalid_request", "token": "***"}\n' in result.stderr
    assert "error: step curl failed: curl got no token (exit status 0)\nhint: " in result.stderr


def test_simultaneous_demos_do_not_interfere(root_demos: DemoRunner) -> None:
    commands = [root_demos.command("--mode", mode, "--json") for mode in (*MODES, *MODES)]
    with contextlib.ExitStack() as stack:
        demos = [
            stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, env=root_demos.environment, stdout=subprocess.PIPE, text=True)
            )
            for command in commands
        ]
        tokens = [json.loads(demo.communicate(timeout=PATIENCE)[0])["access_token"] for demo in demos]
    assert len(set(tokens)) == len(commands)


def test_checkout_that_only_its_owner_can_read_works(root_demos: DemoRunner) -> None:
    """Sidecar and application get a copy that they can read."""
    closed = root_demos.folder / "closed"
    for package in (wisp, wisp_local):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, closed / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (closed, *closed.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    result = root_demos.run(root_demos.command("--json"), PYTHONPATH=str(closed))
    assert (result.returncode, result.stderr) == (0, "")
    check_document(result.stdout, "root")


def test_colour_is_printed_on_terminals_unless_no_color_is_set(root_demos: DemoRunner) -> None:
    output = {value: _on_a_terminal(root_demos, value) for value in ("", "1")}
    assert b"\x1b[1m1/7 " in output[""]
    assert b"\x1b[" not in output["1"]


def test_documentation_shows_what_is_printed(root_demos: DemoRunner) -> None:
    """Ids, keys and times may differ."""
    text = (ROOT / "docs/tutorials/demo.md").read_text(encoding="utf-8")
    output = _normalized(root_demos.run(root_demos.command()).stdout)
    blocks = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        assert _normalized(block) in output
    [script] = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert root_demos.run(["bash", "-c", script], PATH=path).stdout.strip().endswith(MIRID)


def _normalized(text: str) -> str:
    """Replace in a text what differs from one demo to the next."""
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


def _on_a_terminal(demos: DemoRunner, no_color: str) -> bytes:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        demos.command("--mode", "loopback"), cwd=ROOT, env={**demos.environment, "NO_COLOR": no_color}, stdout=theirs
    ) as demo:
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # the error of a terminal whose last writer has ended
            while chunk := os.read(ours, 65536):
                output += chunk
        os.close(ours)
        assert demo.wait(PATIENCE) == 0
    return output
