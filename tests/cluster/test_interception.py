"""Requests to the metadata service's address, on a node with a metadata service of its own."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import container, pod
from tests.cluster.node_service import NODES_TOKEN, NodeService, node_service
from tests.cluster.team import METADATA, TOKEN, Response, Team, curl, make_team, parse_response
from wisp_local.demo.steps import TOKEN_PATH

pytestmark = pytest.mark.cluster
ASKS = curl(TOKEN, "-H", "Metadata:true")
INSTANCE = f"{METADATA}/metadata/instance?api-version=2021-02-01"


@pytest.fixture(name="service", scope="module")
def _service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeService]:
    with node_service(cluster.node, tmp_path_factory.mktemp("node-service")) as running:
        yield running


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster, service: NodeService) -> Team:
    """Make pods that ask immediately, in an init container, while the node would answer."""
    assert service.record.exists()
    early = container("early", *ASKS)
    return make_team(
        cluster,
        "interception",
        pod("app", initContainers=[early]),
        pod("without", initContainers=[early], labels={}, annotations={}),
        pod("unasked", initContainers=[early], annotations={}),
    )


def _address(team: Team, name: str) -> str:
    address = team.get("pod", name)["status"]["podIP"]
    assert isinstance(address, str)
    return address


def test_init_container_gets_the_pods_token(team: Team, service: NodeService) -> None:
    """Redirect and sidecar run before the pod's own init containers, which never reach the node."""
    team.wait_until_ready("app")
    made = team.get("pod", "app")
    assert [container["name"] for container in made["spec"]["initContainers"]] == [
        "azwi-proxy-init",
        "azwi-proxy",
        "early",
    ]
    team.claims(parse_response(team.kubectl("logs", "app", "-c", "early")))
    team.claims(team.ask("app"))
    assert service.requests_from(_address(team, "app")) == []


@pytest.mark.parametrize("name", ["without", "unasked"])
def test_pod_without_the_sidecar_reaches_the_node(name: str, team: Team, service: NodeService) -> None:
    """Neither a pod without the label nor one without the sidecar is intercepted."""
    team.wait_until_ready(name)
    early = parse_response(team.kubectl("logs", name, "-c", "early"))
    assert early.document["access_token"] == NODES_TOKEN
    assert len(service.requests_from(_address(team, name))) == 1


def test_no_other_pod_reaches_the_sidecar(team: Team) -> None:
    """It listens on the pod's loopback: its port is closed for other pods."""
    team.wait_until_ready("app", "without")
    for port in (80, 8000):
        neighbour = f"http://{_address(team, 'app')}:{port}{TOKEN_PATH}"
        response = team.ask("without", "-H", "Metadata:true", "-H", "Host: 169.254.169.254", url=neighbour)
        assert (response.status, "Failed to connect" in response.text) == (0, True)


def test_only_requests_other_than_identity_are_passed_to_the_node(team: Team, service: NodeService) -> None:
    """The sidecar passes on instance metadata, as the user that is not redirected."""
    team.wait_until_ready("app")
    before = service.requests_from(_address(team, "app"))
    instance = team.ask("app", url=INSTANCE)
    assert (instance.status, json.loads(instance.text)["compute"]) == (200, {"vmId": "node1"})
    refused = team.ask("app", url=f"{METADATA}/metadata/identity/info?api-version=2018-02-01")
    assert refused == Response(404, refused.text)
    paths = service.requests_from(_address(team, "app"))[len(before) :]
    assert paths == ["/metadata/instance?api-version=2021-02-01"]


def test_pod_without_the_label_is_unchanged(team: Team) -> None:
    """It gets neither containers nor variables."""
    spec = team.get("pod", "without")["spec"]
    assert [container["name"] for container in (*spec["initContainers"], *spec["containers"])] == ["early", "app"]
    assert not any("env" in container for container in (*spec["initContainers"], *spec["containers"]))
    assert [volume["name"].rpartition("-")[0] for volume in spec["volumes"]] == ["kube-api-access"]
