"""`wisp run` itself: what the command is and which environment it gets (more in tests/system/test_run.py)."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wisp_run import SDK, Runner
from wisp.cli import main
from wisp_local.cloud.state.store import Store
from wisp_local.run.environment import CREDENTIAL_VARIABLES

pytestmark = pytest.mark.system


# What a program can know of itself.
SELF = """
import json, os, signal, sys
print(json.dumps({
    "environment": dict(os.environ),
    "stdin": sys.stdin.read(),
    "pid": os.getpid(), "folder": os.getcwd(), "group": os.getpgrp(), "session": os.getsid(0),
    "descriptors": [name for name in sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd/" + name)],
    "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
    "signals": [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn"))],
}))
"""


HOSTILE = {
    **dict.fromkeys(CREDENTIAL_VARIABLES, "another"),
    "AZURE_TOKEN_CREDENTIALS": "dev",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "https_proxy": "http://127.0.0.1:1",
    "PYTHONWARNINGS": "error",
}


def test_command_is_the_process_that_was_started(runner: Runner, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    command = (sys.executable, "-c", SELF)
    environment = {**runner.environment, "LC_ALL": "", "LANG": "C", "OWN": "\udcff"}
    seen = []
    for wrapper in ((), (sys.executable, "-m", "wisp", "run", "--")):
        with subprocess.Popen(
            [*wrapper, *command],
            cwd=tmp_path,
            env=environment,
            pass_fds=(theirs,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            seen.append(json.loads(process.communicate(b"a line\n")[0]))
            assert seen[-1].pop("pid") == process.pid
    os.close(ours)
    os.close(theirs)
    added = {name: seen[1]["environment"].pop(name) for name in seen[1]["environment"].keys() - environment.keys()}
    added.pop("LC_CTYPE", None)  # the command is Python, which makes it for itself
    seen[0]["environment"].pop("LC_CTYPE", None)
    assert set(added) == {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"}
    assert added["IDENTITY_ENDPOINT"].endswith("/metadata/identity/oauth2/token")
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "command, status",
    [
        pytest.param(("sh", "-c", "exit 3"), 3, id="a status"),
        pytest.param(("sh", "-c", "kill -TERM $$"), -signal.SIGTERM, id="a signal"),
        pytest.param(("no-such-command",), 127, id="not found"),
        pytest.param(("/etc/passwd",), 126, id="not executable"),
    ],
)
def test_exit_status_is_that_of_the_command(command: tuple[str, ...], status: int, runner: Runner) -> None:
    done = runner.run(*command)
    assert done.returncode == status
    expected = f"error: {command[0]} cannot be run (" if status in {126, 127} else ""
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == (2 if expected else 0)


def test_sdk_gets_a_token_in_a_hostile_environment(runner: Runner) -> None:
    first, second = (runner.run("--", sys.executable, "-c", SDK, **HOSTILE) for _ in range(2))
    assert (first.returncode, first.stderr) == (second.returncode, second.stderr) == (0, "")
    assert int(first.stdout) <= int(second.stdout)
    with Store(runner.state) as store:
        [identity] = store.identities()
        assert (identity.resource_group, identity.name) == ("wisp-run", "wisp-run")
        assert len(store.federated_credentials(identity)) == 1
    assert stat.S_IMODE(runner.state.stat().st_mode) == 0o600
    assert stat.S_IMODE(runner.state.parent.stat().st_mode) == 0o700
    assert "eyJ" not in runner.log_text()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ([], "Missing argument"),
        (["--verbose"], "Missing argument"),
        (["--identities", "x", "true"], "No such option"),
        (["--tenant", "t", "true"], "a real authority needs --client-id"),
    ],
    ids=["nothing", "no command", "no such option", "half an authority"],
)
def test_invalid_arguments_are_rejected(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == 2
    assert complaint in capsys.readouterr().err
