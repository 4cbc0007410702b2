"""What a pod hears at the metadata service's address, on a node that has a metadata service of its own."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.manifests import container, pod
from tests.cluster.node_service import NODES_TOKEN, NodeService, node_service
from tests.cluster.site import Site
from tests.cluster.team import METADATA, TOKEN, Heard, Team, curl, heard, settle
from wisp_local.demo.steps import TOKEN_PATH

pytestmark = pytest.mark.cluster
ASKS = curl(TOKEN, "-H", "Metadata:true")
INSTANCE = f"{METADATA}/metadata/instance?api-version=2021-02-01"


@pytest.fixture(name="service", scope="module")
def _service(cluster: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeService]:
    with node_service(cluster.node, tmp_path_factory.mktemp("node-service")) as running:
        yield running


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site, service: NodeService) -> Team:
    """Make pods that ask at once, in an init container of their own, while the node would answer."""
    assert service.record.exists()
    early = container("early", *ASKS)
    return settle(
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


def test_an_init_container_gets_the_pods_token(team: Team, service: NodeService) -> None:
    """Redirect and sidecar come before the pod's own init containers, which never hear the node."""
    team.ready("app")
    made = team.get("pod", "app")
    assert [each["name"] for each in made["spec"]["initContainers"]] == ["azwi-proxy-init", "azwi-proxy", "early"]
    team.claims(heard(team.kubectl("logs", "app", "-c", "early")))
    team.claims(team.ask("app"))
    assert service.asked_by(_address(team, "app")) == []


@pytest.mark.parametrize("name", ["without", "unasked"])
def test_a_pod_without_the_sidecar_hears_the_node(name: str, team: Team, service: NodeService) -> None:
    """Neither a pod without the label nor one that asks for no sidecar is intercepted: the node's answer is there."""
    team.ready(name)
    early = heard(team.kubectl("logs", name, "-c", "early"))
    assert early.answer["access_token"] == NODES_TOKEN
    assert len(service.asked_by(_address(team, name))) == 1


def test_no_other_pod_reaches_the_sidecar(team: Team) -> None:
    """It listens on the pod's own loopback: from elsewhere its port is closed, whatever the neighbour sends."""
    team.ready("app", "without")
    for port in (80, 8000):
        neighbour = f"http://{_address(team, 'app')}:{port}{TOKEN_PATH}"
        said = team.ask("without", "-H", "Metadata:true", "-H", "Host: 169.254.169.254", url=neighbour)
        assert (said.status, "Failed to connect" in said.text) == (0, True)


def test_what_is_not_identity_comes_from_the_node(team: Team, service: NodeService) -> None:
    """The instance's metadata are passed on by the sidecar's user, which the redirect lets by; identity is not."""
    team.ready("app")
    before = service.asked_by(_address(team, "app"))
    instance = team.ask("app", url=INSTANCE)
    assert (instance.status, json.loads(instance.text)["compute"]) == (200, {"vmId": "node1"})
    refused = team.ask("app", url=f"{METADATA}/metadata/identity/info?api-version=2018-02-01")
    assert refused == Heard(404, refused.text)
    asked = service.asked_by(_address(team, "app"))[len(before) :]
    assert asked == ["/metadata/instance?api-version=2021-02-01"]


def test_a_pod_without_the_label_is_untouched(team: Team) -> None:
    """Nothing of wisp is in it, not even a variable."""
    spec = team.get("pod", "without")["spec"]
    assert [each["name"] for each in (*spec["initContainers"], *spec["containers"])] == ["early", "app"]
    assert not any("env" in each for each in (*spec["initContainers"], *spec["containers"]))
    assert [each["name"].rpartition("-")[0] for each in spec["volumes"]] == ["kube-api-access"]
