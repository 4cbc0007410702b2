"""Unusual pods, and pods that are copied from others."""

from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, pod
from tests.cluster.team import TOKEN, Team, curl, make_team, parse_response

pytestmark = pytest.mark.cluster
VARIANTS: dict[str, Manifest] = {
    "another-user": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000, "runAsNonRoot": True}},
    "one-process-tree": {"shareProcessNamespace": True},
    "no-api-token": {"automountServiceAccountToken": False},
}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    return make_team(cluster, "variants", *(pod(name, **spec) for name, spec in VARIANTS.items()))


@pytest.mark.parametrize("name", VARIANTS)
def test_unusual_pod_gets_its_token(name: str, team: Team) -> None:
    """With users, groups, processes and tokens of its own."""
    team.wait_until_ready(name)
    team.claims(team.ask(name))


def test_debugging_container_is_intercepted(team: Team) -> None:
    """Nothing is injected into ephemeral containers. The sidecar answers them."""
    team.wait_until_ready("one-process-tree")
    asks = curl(TOKEN, "-H", "Metadata:true")
    team.kubectl(
        "debug", "one-process-tree", "--image=ubuntu:20.04", "--container=look", "--profile=general", "--", *asks
    )
    path = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"
    team.kubectl("wait", f"--for={path}", "pod/one-process-tree", "--timeout=300s")
    team.claims(parse_response(team.kubectl("logs", "one-process-tree", "-c", "look")))


def _copied(made: Manifest, name: str) -> Manifest:
    """Return a manifest made from a running pod."""
    spec = {key: value for key, value in made["spec"].items() if key != "nodeName"}
    metadata = {key: made["metadata"][key] for key in ("labels", "annotations")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def _names(things: list[dict[str, Any]]) -> list[str]:
    return [thing["name"] for thing in things]


def test_copy_of_a_running_pod_gets_nothing_twice(team: Team) -> None:
    """It gets a token, too."""
    team.wait_until_ready("another-user")
    first = team.get("pod", "another-user")
    team.make(_copied(first, "copy"))
    team.wait_until_ready("copy")
    second = team.get("pod", "copy")
    for key in ("initContainers", "containers", "volumes"):
        assert _names(second["spec"][key]) == _names(first["spec"][key])
    team.claims(team.ask("copy"))


def test_service_account_token_has_the_annotated_lifetime(team: Team) -> None:
    """The token in the pod's volume."""
    annotations = {**SIDECAR, f"{PREFIX}service-account-token-expiration": "7200"}
    team.make(pod("long-token", annotations=annotations))
    team.wait_until_ready("long-token")
    claims = team.service_account_claims("long-token")
    assert claims["exp"] - claims["iat"] == 7200
    assert claims["aud"] == ["api://AzureADTokenExchange"]
