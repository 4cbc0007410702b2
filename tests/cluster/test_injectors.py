"""Other injectors, called before and after wisp: what they add gets the pod's identity, too."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.manifests import LABELLED, Manifest, container, pod
from tests.cluster.team import TOKEN, Team, curl, make_team, parse_response
from tests.support.https_server import HttpsServer, Reply, Request, https_server

pytestmark = pytest.mark.cluster
ORDERS = ("before", "after")
"""Webhook configurations are called in the order of their names; wisp's is called wisp."""
NAMES = {"before": "a-injector", "after": "z-injector"}


def _add(request: Request) -> Reply:
    """Answer a review as a careless injector does: add an init container before all others, and a container."""
    review = json.loads(request.body)["request"]
    spec = review["object"]["spec"]
    early, late = container("early", *curl(TOKEN, "-H", "Metadata:true")), container("mesh")
    patch: list[Manifest] = []
    if not any(item["name"] == "mesh" for item in spec["containers"]):
        first = {"op": "add", "path": "/spec/initContainers/0", "value": early}
        whole = {"op": "add", "path": "/spec/initContainers", "value": [early]}
        patch = [
            first if spec.get("initContainers") else whole,
            {"op": "add", "path": "/spec/containers/0", "value": late},
        ]
    response = {"uid": review["uid"], "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
    return Reply({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})


def _configuration(order: str, server: HttpsServer) -> Manifest:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAMES[order]},
        "webhooks": [
            {
                "name": f"{order}.injector.test",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": f"{server.url}/{order}",
                    "caBundle": base64.b64encode(server.ca.encode()).decode(),
                },
                "objectSelector": {"matchLabels": {"injector.test/order": order}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "sideEffects": "None",
            }
        ],
    }


def _pod(order: str) -> Manifest:
    return pod(order, labels={**LABELLED, "injector.test/order": order})


def _is_called(cluster: Cluster, order: str) -> bool:
    """Tell whether the API server calls the injector: it does a moment after the configuration was created."""
    plain = {**_pod(order), "spec": {"containers": [container()]}}
    made = cluster.try_kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(plain))
    return '"mesh"' in made.stdout


@pytest.fixture(name="server", scope="module")
def _server(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    """Run the injector outside of the cluster, and let the API server call it."""
    host = cluster.node.network.host
    with https_server(host, host, _add, tmp_path_factory.mktemp("injector")) as server:
        cluster.apply(*(_configuration(order, server) for order in ORDERS))
        eventually(lambda: all(_is_called(cluster, order) for order in ORDERS), "the injectors' configurations")
        yield server
        cluster.kubectl("delete", "mutatingwebhookconfiguration", *NAMES.values())


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster, server: HttpsServer) -> Team:
    assert server.requests
    return make_team(cluster, "injectors", *(_pod(order) for order in ORDERS))


def _names(containers: list[dict[str, Any]]) -> list[str]:
    return [container["name"] for container in containers]


@pytest.mark.parametrize("order", ORDERS)
def test_containers_of_another_injector_get_the_identity(order: str, team: Team) -> None:
    """Our containers come first in either order, once. The sidecar answers the init container and the container."""
    team.wait_until_ready(order)
    spec = team.get("pod", order)["spec"]
    assert _names(spec["initContainers"]) == ["azwi-proxy-init", "azwi-proxy", "early"]
    assert _names(spec["containers"]) == ["mesh", "app"]
    for injected in (spec["initContainers"][2], *spec["containers"]):
        assert "AZURE_FEDERATED_TOKEN_FILE" in [variable["name"] for variable in injected["env"]]
        assert "/var/run/secrets/azure/wi" in [mount["mountPath"] for mount in injected["volumeMounts"]]
    team.claims(parse_response(team.kubectl("logs", order, "-c", "early")))
    team.claims(team.ask(order, container="mesh"))


@pytest.mark.parametrize("order, expected", [("before", "mesh"), ("after", "app")])
def test_default_container_is_the_same_as_without_wisp(order: str, expected: str, team: Team) -> None:
    """The first one when wisp was called: the containers of an injector look like the pod's own."""
    annotations = team.get("pod", order)["metadata"]["annotations"]
    assert annotations["kubectl.kubernetes.io/default-container"] == expected
