"""The gateway while a replica is killed, its certificates are replaced and the API server restarts.

Callers send requests all the time. Nobody gets a token that it must not have, and what fails can be tried again.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.cluster import gateway as gate
from tests.cluster import kernel, processes, sdk
from tests.cluster.api import api
from tests.cluster.cluster import Cluster, eventually
from tests.cluster.gateway import BINDING, BOUND, HERE, Caller, Calls, Outcome
from tests.cluster.manifests import account, namespace, pod
from tests.cluster.team import TOKEN, Team

pytestmark = pytest.mark.cluster
PLACE = "resilience"
CALLERS = 50
STRANGERS = 10
"""Callers without a grant."""
REQUESTS = 2000
FRESH = f"{TOKEN}&bypass_cache=true"
PROGRAM = """\
import sys, time
from azure.identity import WorkloadIdentityCredential
while True:
    try:
        token = WorkloadIdentityCredential(enable_azure_proxy=True).get_token("https://management.azure.com/.default")
        print("token" if token.token else "nothing", flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace("\\n", " "), flush=True)
    time.sleep(0.5)
"""
"""A credential of its own for every token: it caches none, and retries as the SDK does."""


@pytest.fixture(name="team", scope="module")
def _team(gateway: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Make an identity with a grant for each caller but the strangers, and a pod with the SDK."""
    sdk.load(gateway, tmp_path_factory.mktemp("sdk"))
    team = Team(gateway, PLACE, gate.identity(gateway, PLACE))
    gateway.apply(namespace(PLACE, {}), namespace(f"{PLACE}-strangers", {}))
    gate.wisp_gateway(gateway, "grant", f"--client-id={team.identity.client_id}", f"--namespace={PLACE}")
    program = sdk.python_pod("app", BINDING)
    program["spec"]["containers"][0]["command"] = ["python3", "-c", PROGRAM]
    team.make(account(team.identity.client_id), program)
    team.wait_until_ready("app")
    yield team
    gateway.kubectl("delete", "namespace", PLACE, f"{PLACE}-strangers", "--wait=false")
    gate.remove_grants(gateway, team.identity.client_id)


def _callers(team: Team) -> list[Caller]:
    places = [PLACE if number >= STRANGERS else f"{PLACE}-strangers" for number in range(CALLERS)]
    names = [f"{'caller' if number >= STRANGERS else 'stranger'}-{number}" for number in range(CALLERS)]
    accounts = [
        {**account(team.identity.client_id, name), "metadata": {"name": name, "namespace": place}}
        for place, name in zip(places, names, strict=True)
    ]
    team.cluster.apply(*accounts)
    with api(team.cluster) as administrator:
        return [
            Caller(name, gate.token(administrator, place, name), team.identity.client_id)
            for place, name in zip(places, names, strict=True)
        ]


def _sdk_lines(team: Team) -> list[str]:
    """Return what the SDK's program in the pod has printed."""
    return team.kubectl("logs", "app").splitlines()


def _wait_for_sdk(team: Team) -> None:
    """Wait until the SDK has got another token."""
    seen = len(_sdk_lines(team))
    eventually(lambda: len(_sdk_lines(team)) >= seen + 2, "the SDK's token")


def _ready(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the gateway's pods that are ready."""
    pods = cluster.get("pods", *HERE, "-l", "app.kubernetes.io/component=gateway")["items"]
    return [pod for pod in pods if _is_ready(pod)]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {condition["type"]: condition["status"] for condition in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _kill_replica(cluster: Cluster) -> None:
    """Kill the processes of a replica, as the kernel does for want of memory; kubelet starts the container again."""
    victim = _ready(cluster)[0]
    (status,) = victim["status"]["containerStatuses"]
    for process in kernel.processes(status["containerID"]):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    def is_back() -> bool:
        pods = [pod for pod in _ready(cluster) if pod["metadata"]["uid"] == victim["metadata"]["uid"]]
        return any(pod["status"]["containerStatuses"][0]["restartCount"] > status["restartCount"] for pod in pods)

    eventually(is_back, "the replica to be back")


def _delete_replica(cluster: Cluster) -> None:
    cluster.kubectl("delete", "pod", _ready(cluster)[0]["metadata"]["name"], *HERE, "--force", "--grace-period=0")
    eventually(lambda: len(_ready(cluster)) == 2, "another replica")


def _kill_api_server(cluster: Cluster) -> None:
    (api_server,) = processes.process_ids(cluster.node, "kube-apiserver")
    os.kill(api_server, signal.SIGKILL)
    eventually(lambda: processes.process_ids(cluster.node, "kube-apiserver") not in ([], [api_server]), "another")
    eventually(lambda: cluster.try_kubectl("get", "--raw", "/readyz").returncode == 0, "the API server")


def _wait_for_all(made: Calls, callers: Sequence[Caller]) -> None:
    """Wait until every caller has what it may have."""
    seen = len(made.outcomes)

    def answered() -> bool:
        later = made.outcomes[seen:]
        right = {each.caller for each in later if each.status == (401 if _is_stranger(each) else 200)}
        return len(right) == len(callers)

    eventually(answered, "all callers to be answered")


def _is_stranger(outcome: Outcome) -> bool:
    return outcome.caller.startswith("stranger")


def test_failures_give_no_token_and_lose_none(team: Team) -> None:
    """Fifty callers, of which ten have no grant, and a client with the SDK's own retries."""
    cluster, callers = team.cluster, _callers(team)
    with gate.calls(cluster, callers, requests=REQUESTS // CALLERS) as made:
        _wait_for_all(made, callers)
        _wait_for_sdk(team)
        for disturb in (_kill_replica, _delete_replica, gate.replace_certificates, _kill_api_server):
            disturb(cluster)
            _wait_for_all(made, callers)
            _wait_for_sdk(team)
    outcomes = made.outcomes
    assert len(outcomes) >= REQUESTS
    assert {each.client_id for each in outcomes if each.status == 200} == {team.identity.client_id}
    assert not [each for each in outcomes if _is_stranger(each) and each.status == 200]
    usual = {0, 429, 503}
    assert {each.status for each in outcomes if _is_stranger(each)} <= {401, *usual}
    assert {each.status for each in outcomes if not _is_stranger(each)} <= {200, *usual}
    assert all(int(each.retry_after or 0) >= 1 for each in outcomes if each.status in {429, 503})
    assert set(_sdk_lines(team)) == {"token"}
    statuses = [status for pod in _ready(cluster) for status in pod["status"]["containerStatuses"]]
    assert len(statuses) == 2
    assert {limit for _, limit in (kernel.memory(status["containerID"]) for status in statuses)} == {128 * 1024 * 1024}


def test_pod_trusts_the_gateway_after_its_ca_was_replaced(team: Team) -> None:
    """Twice. The pod knows only the first CA, which has signed the second, which has signed the third."""
    cluster = team.cluster
    team.make(pod("old", annotations=BOUND))
    team.wait_until_ready("old")
    team.claims(team.ask("old"))
    known = _ca_of_pod(team, "old")
    caller = _callers(team)[-1]
    for _ in range(2):
        gate.replace_certificates(cluster)
        gate.wait_for_newest_ca(cluster, caller)
        assert gate.newest_ca(cluster) not in known
        team.claims(team.ask("old", url=FRESH))


def _ca_of_pod(team: Team, name: str) -> str:
    """Return the CAs in the variable of a pod's sidecar."""
    made = team.get("pod", name)
    sidecar = next(item for item in made["spec"]["initContainers"] if item["name"] == "azwi-proxy")
    variables = {variable["name"]: variable.get("value", "") for variable in sidecar["env"]}
    return str(variables["AZURE_KUBERNETES_CA_DATA"])
