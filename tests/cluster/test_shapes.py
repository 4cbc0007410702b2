"""Pods of unusual shapes, and pods that are made of others."""

from typing import Any

import pytest

from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, pod
from tests.cluster.site import Site
from tests.cluster.team import TOKEN, Team, curl, heard, settle

pytestmark = pytest.mark.cluster
SHAPES: dict[str, Manifest] = {
    "another-user": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000, "runAsNonRoot": True}},
    "one-process-tree": {"shareProcessNamespace": True},
    "no-api-token": {"automountServiceAccountToken": False},
}


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    return settle(cluster, "shapes", *(pod(name, **spec) for name, spec in SHAPES.items()))


@pytest.mark.parametrize("name", SHAPES)
def test_a_pod_of_any_shape_gets_its_token(name: str, team: Team) -> None:
    """Whatever it says of users, groups, processes and tokens of its own."""
    team.ready(name)
    team.claims(team.ask(name))


def test_a_debugging_container_is_intercepted(team: Team) -> None:
    """Ephemeral containers get nothing put in, and hear what the pod hears."""
    team.ready("one-process-tree")
    asks = curl(TOKEN, "-H", "Metadata:true")
    team.kubectl(
        "debug", "one-process-tree", "--image=ubuntu:20.04", "--container=look", "--profile=general", "--", *asks
    )
    path = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"
    team.kubectl("wait", f"--for={path}", "pod/one-process-tree", "--timeout=300s")
    team.claims(heard(team.kubectl("logs", "one-process-tree", "-c", "look")))


def _copied(made: Manifest, name: str) -> Manifest:
    """Return the manifest that somebody makes of a running pod."""
    spec = {key: value for key, value in made["spec"].items() if key != "nodeName"}
    metadata = {key: made["metadata"][key] for key in ("labels", "annotations")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def _names(things: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in things]


def test_a_copy_of_a_running_pod_is_one(team: Team) -> None:
    """What was put into the first is not put in again; under its own name the second has a token, too."""
    team.ready("another-user")
    first = team.get("pod", "another-user")
    team.make(_copied(first, "copy"))
    team.ready("copy")
    second = team.get("pod", "copy")
    for key in ("initContainers", "containers", "volumes"):
        assert _names(second["spec"][key]) == _names(first["spec"][key])
    team.claims(team.ask("copy"))


def test_the_pods_own_expiration(team: Team) -> None:
    """The service account token on disk lives as long as the annotation says."""
    annotations = {**SIDECAR, f"{PREFIX}service-account-token-expiration": "7200"}
    team.make(pod("lasting", annotations=annotations))
    team.ready("lasting")
    claims = team.service_account_claims("lasting")
    assert claims["exp"] - claims["iat"] == 7200
    assert claims["aud"] == ["api://AzureADTokenExchange"]
