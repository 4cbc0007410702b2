"""Other injectors in the cluster, asked before wisp and after it: what they add has the pod's identity, too."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.https import Asked, Listening, listening
from tests.cluster.manifests import LABELLED, Manifest, container, pod
from tests.cluster.site import Site, eventually
from tests.cluster.team import TOKEN, Team, curl, heard, settle

pytestmark = pytest.mark.cluster
ORDERS = ("before", "after")
"""Webhook configurations are asked in the order of their names; wisp's is called wisp."""
NAMES = {"before": "a-injector", "after": "z-injector"}


def _add(asked: Asked) -> object:
    """Answer a review as a careless injector does: its init container first of all, and a container."""
    request = json.loads(asked.body)["request"]
    spec = request["object"]["spec"]
    early, late = container("early", *curl(TOKEN, "-H", "Metadata:true")), container("mesh")
    patch: list[Manifest] = []
    if not any(each["name"] == "mesh" for each in spec["containers"]):
        first = {"op": "add", "path": "/spec/initContainers/0", "value": early}
        whole = {"op": "add", "path": "/spec/initContainers", "value": [early]}
        patch = [
            first if spec.get("initContainers") else whole,
            {"op": "add", "path": "/spec/containers/0", "value": late},
        ]
    response = {"uid": request["uid"], "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _configuration(order: str, server: Listening) -> Manifest:
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


def _is_asked(cluster: Site, order: str) -> bool:
    """Tell whether the API server has heard of the injector: it does a moment after it was told."""
    plain = {**_pod(order), "spec": {"containers": [container()]}}
    made = cluster.try_kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(plain))
    return '"mesh"' in made.stdout


@pytest.fixture(name="server", scope="module")
def _server(cluster: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """Run the injector outside of the cluster, and have the API server ask it."""
    host = cluster.node.network.host
    with listening(host, host, _add, tmp_path_factory.mktemp("injector")) as server:
        cluster.apply(*(_configuration(order, server) for order in ORDERS))
        eventually(lambda: all(_is_asked(cluster, order) for order in ORDERS), "the injectors' configurations")
        yield server
        cluster.kubectl("delete", "mutatingwebhookconfiguration", *NAMES.values())


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site, server: Listening) -> Team:
    assert server.asked
    return settle(cluster, "injectors", *(_pod(order) for order in ORDERS))


def _names(containers: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in containers]


@pytest.mark.parametrize("order", ORDERS)
def test_what_another_injector_adds_has_the_identity(order: str, team: Team) -> None:
    """Ours are first in either order, once each; its init container was answered by the sidecar, its container is."""
    team.ready(order)
    spec = team.get("pod", order)["spec"]
    assert _names(spec["initContainers"]) == ["azwi-proxy-init", "azwi-proxy", "early"]
    assert _names(spec["containers"]) == ["mesh", "app"]
    for each in (spec["initContainers"][2], *spec["containers"]):
        assert "AZURE_FEDERATED_TOKEN_FILE" in [variable["name"] for variable in each["env"]]
        assert "/var/run/secrets/azure/wi" in [mount["mountPath"] for mount in each["volumeMounts"]]
    team.claims(heard(team.kubectl("logs", order, "-c", "early")))
    team.claims(team.ask(order, container="mesh"))


@pytest.mark.parametrize("order, meant", [("before", "mesh"), ("after", "app")])
def test_kubectl_means_the_same_container_as_without_wisp(order: str, meant: str, team: Team) -> None:
    """The first that was there when wisp was asked: an injector's cannot be told from the pod's own."""
    annotations = team.get("pod", order)["metadata"]["annotations"]
    assert annotations["kubectl.kubernetes.io/default-container"] == meant
