"""Several processes on one state file, and processes that are killed while they write to it."""

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3

from tests.support.waiting import PATIENCE
from tests.unit.wisp_local.cloud.process import WISP, exchange, exchange_secret, running, workload
from wisp_local.cloud.names import MAXIMUM_FEDERATED_CREDENTIALS
from wisp_local.cloud.roles import OWNER
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.system

WRITER = Path(__file__).with_name("writer.py")


class Said(NamedTuple):
    """What a writer said of one change."""

    outcome: str
    name: str


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    with Store(tmp_path / "state.db") as store:
        store.put_resource_group("RG", "eastus")
        store.put_identity("RG", "shared", "eastus")
        store.issuers.put("shared")
    return tmp_path / "state.db"


@contextmanager
def _writer(state: Path, name: str, kind: str, count: int) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, str(WRITER), str(state), name, kind, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _heard(process: subprocess.Popen[str], lines: int | None = None) -> list[Said]:
    assert process.stdout is not None
    said = process.stdout.readlines() if lines is None else [process.stdout.readline() for _ in range(lines)]
    return [Said(*line.split()) for line in said if line.endswith("\n")]


def _at_once(state: Path, kinds: Sequence[str], count: int) -> list[Said]:
    """Let one writer of each kind write `count` times, all at once; return what all of them said."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(state, f"w{n}", kind, count)) for n, kind in enumerate(kinds)]
        for writer in writers:
            _begin(writer)
        said = [line for writer in writers for line in _heard(writer)]
        assert [writer.wait(PATIENCE) for writer in writers] == [0] * len(writers)
    return said


def test_concurrent_writers_lose_nothing(state: Path) -> None:
    """Four processes write as fast as they can, and none gives up."""
    said = _at_once(state, ["identities"] * 4, 50)
    assert len(said) == 200
    assert {change.outcome for change in said} == {"made"}
    with Store(state) as store:
        assert {identity.name for identity in store.identities()} == {change.name for change in said} | {"shared"}


def test_credential_limit_holds_between_concurrent_writers(state: Path) -> None:
    """Four processes want ten federated credentials each of one identity: twenty are created."""
    said = _at_once(state, ["credentials"] * 4, 10)
    made = {change.name for change in said if change.outcome == "made"}
    assert len(made) == len([change for change in said if change.outcome == "refused"]) == MAXIMUM_FEDERATED_CREDENTIALS
    with Store(state) as store:
        assert {credential.name for credential in store.federated_credentials(store.identity("RG", "shared"))} == made


def test_concurrent_rotations_all_add_a_key(state: Path) -> None:
    said = _at_once(state, ["rotations"] * 2, 3)
    with Store(state) as store:
        assert len(store.issuers.named("shared").keys) == 1 + len(said) == 7


def test_commands_change_the_state_of_a_running_server(state: Path) -> None:
    """No client and no command gets an error about a lock."""
    loop = 'for n in 1 2 3; do "$@" -n "$0-$n" || exit 1; done'
    create = (*WISP, "identity", "create", "--state", str(state), "-g", "RG")
    with running(state) as cloud, ExitStack() as stack:
        asks = workload(state, cloud.url)
        shells = [
            stack.enter_context(
                subprocess.Popen(
                    ["sh", "-c", loop, name, *create], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
            )
            for name in ("one", "two")
        ]
        writer = stack.enter_context(_writer(state, "w", "identities", 100))
        _begin(writer)
        statuses = {exchange(cloud, asks).status for _ in range(30)}
        assert [shell.communicate(timeout=PATIENCE)[1] for shell in shells] == ["", ""]
        assert [shell.returncode for shell in shells] == [0, 0]
        assert len(_heard(writer)) == 100
        assert statuses == {200}
    with Store(state) as store:
        assert {f"{name}-{n}" for name in ("one", "two") for n in (1, 2, 3)} < {
            identity.name for identity in store.identities()
        }


@pytest.mark.parametrize("kinds", [["identities"], ["identities", "identities"]], ids=["alone", "beside another"])
def test_killed_writer_leaves_a_complete_file(state: Path, kinds: list[str]) -> None:
    """Everything it acknowledged is there, and others go on."""
    chance = random.Random(len(kinds))  # noqa: S311 -- moments, not secrets
    acknowledged: set[str] = set()
    for turn in range(5):
        with ExitStack() as stack:
            writers = [stack.enter_context(_writer(state, f"t{turn}{n}", k, 9999)) for n, k in enumerate(kinds)]
            for writer in writers:
                _begin(writer)
            said = _heard(writers[0], chance.randrange(1, 40))
            time.sleep(chance.random() / 100)
            for writer in writers:
                writer.kill()
            acknowledged |= {line.name for line in said}.union(*({line.name for line in _heard(w)} for w in writers))
        connection = sqlite3.connect(state)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
        with Store(state) as store:
            assert acknowledged <= {identity.name for identity in store.identities()}
            store.put_identity("RG", f"after-{turn}", "eastus")


def test_every_commit_is_synced_to_disk(state: Path) -> None:
    """Whatever the defaults of this build of SQLite."""
    with Store(state) as store:
        database = store._database
        assert database.row("PRAGMA journal_mode") == ("wal",)
        assert database.row("PRAGMA synchronous") == (2,)


def test_second_of_two_writes_to_an_identity_is_a_conflict(tmp_path: Path) -> None:
    """By Resource Manager, on connections of their own."""
    state = tmp_path / "cloud.db"
    with running(state, "--write-seconds", "2") as cloud, Store(state) as store:
        application = store.principals.put("tests")
        store.assignments.give(application.principal_id, OWNER, store.subscription().id)
        store.put_resource_group("RG", "eastus")
        identity = store.put_identity("RG", "app", "eastus")
        secret = store.principals.add_secret(application)
        token = exchange_secret(cloud, application, secret)
        path = f"{cloud.url}{identity.resource_id}/federatedIdentityCredentials"
        start = threading.Barrier(2)

        def write(name: str) -> int:
            body = {"properties": {"issuer": "https://i.test/", "subject": name, "audiences": ["a"]}}
            with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
                pool.request("GET", f"{cloud.url}/healthz")  # connects, so that nothing is between start and write
                start.wait()
                url, headers = (
                    f"{path}/{name}?api-version=2025-01-31-preview",
                    {"Authorization": f"Bearer {token.reveal()}"},
                )
                return pool.request("PUT", url, json=body, headers=headers).status

        with ThreadPoolExecutor() as threads:
            assert sorted(threads.map(write, ("one", "two"))) == [201, 409]
        assert len(store.federated_credentials(identity)) == 1
