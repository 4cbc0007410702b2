"""One managed identity with one federated credential, used by the workloads of many namespaces through the gateway."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.gateway import BOUND, identity, remove_grants, shell
from tests.cluster.manifests import Manifest, account, container, namespace, pod
from tests.cluster.team import TOKEN, Response, Team, curl, in_parallel, parse_response
from wisp.gateway.grants import Grant
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.cluster
NAMESPACES = [f"bound-{number}" for number in range(30)]
ACCOUNTS = ("first", "second")
STRANGERS = [f"stranger-{number}" for number in range(5)]
_ASKS = " ".join(f"'{word}'" for word in curl(TOKEN, "-H", "Metadata:true"))
PATIENTLY = f"until {_ASKS} > /tmp/answer; tail -n 1 /tmp/answer | grep -qx 200; do sleep 1; done; cat /tmp/answer"
"""Asks until there is a token, as SDKs do: sixty pods that start at the same time keep a small machine busy."""


class Workload(NamedTuple):
    """A pod, which is called like its service account."""

    namespace: str
    name: str


WORKLOADS = [Workload(name, account) for name in NAMESPACES for account in ACCOUNTS]


@pytest.fixture(name="shared", scope="module")
def _shared(gateway: Cluster) -> Iterator[ManagedIdentity]:
    """Make the identity, the namespaces and the grants: half of them for a namespace, half for a service account."""
    made = identity(gateway, "shared")
    gateway.apply(*(namespace(name, {}) for name in (*NAMESPACES, *STRANGERS)))
    grants = [
        *(Grant(made.client_id, name) for name in NAMESPACES[::2]),
        *(Grant(made.client_id, name, account) for name in NAMESPACES[1::2] for account in ACCOUNTS),
    ]
    gateway.apply(*(grant.role for grant in grants), *(grant.binding for grant in grants))
    yield made
    gateway.kubectl("delete", "namespace", *NAMESPACES, *STRANGERS, "--wait=false")
    remove_grants(gateway, made.client_id)


def _in(place: str, manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": place}}


def _team(cluster: Cluster, place: str, shared: ManagedIdentity) -> Team:
    return Team(cluster, place, shared)


def test_sixty_service_accounts_share_one_federated_credential(gateway: Cluster, shared: ManagedIdentity) -> None:
    """In thirty namespaces, with a pod each: all get the identity's token through the sidecar."""
    asks = container("app", "sh", "-c", PATIENTLY)
    once: Manifest = {"restartPolicy": "Never", "automountServiceAccountToken": False}
    accounts = (_in(place, account(shared.client_id, name)) for place, name in WORKLOADS)
    pods = (
        _in(place, pod(name, asks, annotations=BOUND, serviceAccountName=name, **once)) for place, name in WORKLOADS
    )
    gateway.apply(*accounts)
    gateway.apply(*pods)

    def response(workload: Workload) -> Response:
        team = _team(gateway, workload.namespace, shared)
        team.wait_until_ended(workload.name)
        return parse_response(team.kubectl("logs", workload.name, "-c", "app"))

    tokens = set()
    verifier = _team(gateway, NAMESPACES[0], shared)
    for answer in in_parallel(response, WORKLOADS):
        verifier.claims(answer)
        tokens.add(answer.document["access_token"])
    assert len(tokens) <= 2, "a replica exchanges once for all callers"
    with Store(gateway.cloud.state) as store:
        assert len(store.federated_credentials(shared)) == 1


def test_printed_command_gives_the_token_to_a_running_pod(gateway: Cluster, shared: ManagedIdentity) -> None:
    """The application's error has the command. After it, the same pods get the token."""
    teams = [_team(gateway, place, shared) for place in STRANGERS]
    for team in teams:
        team.make(account(shared.client_id, "app"), pod("app", annotations=BOUND))
    for team in teams:
        team.wait_until_ready("app")
    refusals = in_parallel(lambda team: team.ask("app"), teams)
    for team, refusal in zip(teams, refusals, strict=True):
        assert (refusal.status, refusal.document["error"]) == (401, "invalid_client")
        description = refusal.document["error_description"]
        assert f"--serviceaccount={team.namespace}:app" in description
        shell(gateway, _command(description))
    eventually(lambda: all(team.ask("app").status == 200 for team in teams), "the tokens")
    for team in teams:
        team.claims(team.ask("app"))
        statuses = team.get("pod", "app")["status"]
        every = (*statuses["containerStatuses"], *statuses["initContainerStatuses"])
        assert {status["restartCount"] for status in every} == {0}


def _command(description: str) -> str:
    """Return the shell command in the description of an error: the line after the one that announces it."""
    lines = description.splitlines()
    found = next(number for number, line in enumerate(lines) if line.endswith("To allow it, run:"))
    return lines[found + 1]
