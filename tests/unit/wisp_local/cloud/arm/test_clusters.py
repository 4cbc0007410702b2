"""Managed clusters: what they do by the clock, their issuers, and the API servers behind them."""

import base64
import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.wisp_local.cloud.arm.client import CLUSTER, CLUSTERS, Azure, problem
from tests.unit.wisp_local.cloud.world import BASE_URL, World
from wisp.cli import main
from wisp_local.cloud.arm.managed_cluster import merged
from wisp_local.cloud.backing import usable_kubeconfig
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.errors import NotFoundError, RequestError
from wisp_local.cloud.issuer import Issuer, Projection, SigningKey, kubernetes_key_id, service_account_token
from wisp_local.cloud.state.store import Store

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: lab
contexts:
- {name: other, context: {cluster: x, user: x}}
- {name: lab, context: {cluster: c, user: u, namespace: n}}
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority: ca.pem}}
users:
- {name: u, user: {client-certificate: tls.crt, client-key-data: a2V5}}
"""


def _path(azure: Azure, name: str = "wilab") -> str:
    return f"{azure.group}/{CLUSTERS}/{name}"


def _ready(azure: Azure, name: str = "wilab", **changes: object) -> Any:
    assert azure.create_cluster(name, **changes).status == 201
    azure.world.clock.now += 1
    return azure.get(_path(azure, name))


def test_a_cluster_is_created_by_the_clock(azure: Azure) -> None:
    """201 Creating with a place to ask; InProgress and then Succeeded, however often anybody asks."""
    answer = azure.create_cluster()
    assert (answer.status, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
    operation = answer.headers["azure-asyncoperation"]
    for _ in range(3):
        polled = azure.ask("GET", operation)
        assert (polled.json()["status"], polled.headers["retry-after"]) == ("InProgress", "1")
    azure.world.clock.now += 1
    assert azure.get(operation)["status"] == "Succeeded"
    assert azure.get(_path(azure))["properties"]["provisioningState"] == "Succeeded"


def test_a_cluster_says_what_az_needs_to_know(azure: Azure) -> None:
    """The issuer as `issuerURL`, the nodes' identity, the pools, and no empty text where AKS has an opinion."""
    shown = _ready(azure)
    properties = shown["properties"]
    assert properties["oidcIssuerProfile"] == {"enabled": True, "issuerURL": azure.world.issuer_url}
    assert set(properties["identityProfile"]["kubeletidentity"]) == {"clientId", "objectId", "resourceId"}
    assert properties["agentPoolProfiles"][0]["vmSize"] == "Standard_DS2_v2"
    assert properties["securityProfile"] == {"workloadIdentity": {"enabled": True}}
    assert properties["nodeResourceGroup"] == "MC_WorkloadIdentityRG_wilab_eastus"
    assert shown["identity"]["tenantId"] == azure.world.tenant
    assert shown["id"].endswith("/resourcegroups/WorkloadIdentityRG/" + CLUSTERS + "/wilab")
    assert [each["name"] for each in azure.get(f"{azure.subscription}/{CLUSTERS}")["value"]] == ["wilab"]
    assert [each["name"] for each in azure.get(f"{azure.group}/{CLUSTERS}")["value"]] == ["wilab"]


def test_no_password_is_kept(azure: Azure) -> None:
    """A service principal's secret and the Windows administrator's password are read past."""
    properties = {
        "servicePrincipalProfile": {"clientId": "x", "secret": "s3cret-1"},
        "windowsProfile": {"adminUsername": "u", "adminPassword": "s3cret-2"},
    }
    shown = json.dumps(_ready(azure, properties=properties))
    azure.world.store._database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert "s3cret" not in shown
    assert b"s3cret" not in azure.world.store.path.read_bytes()
    assert '"clientId": "x"' in shown


def test_an_update_takes_its_time_too(azure: Azure) -> None:
    """PUT and PATCH switch the issuer and workload identity on; meanwhile nothing else can be changed."""
    plain = _ready(azure, properties={})
    assert plain["properties"]["oidcIssuerProfile"] == {"enabled": False}
    answer = azure.ask("PUT", _path(azure), CLUSTER)
    assert (answer.status, answer.json()["properties"]["provisioningState"]) == (200, "Updating")
    assert problem(azure.ask("PATCH", _path(azure), {"tags": {"a": "b"}})) == (409, "OperationNotAllowed")
    azure.world.clock.now += 1
    off = {"properties": {"securityProfile": {"workloadIdentity": {"enabled": False}}}, "tags": {"a": "b"}}
    assert azure.ask("PATCH", _path(azure), off).status == 200
    azure.world.clock.now += 1
    shown = azure.get(_path(azure))
    assert shown["tags"] == {"a": "b"}
    assert shown["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": False}
    assert shown["properties"]["oidcIssuerProfile"]["issuerURL"] == azure.world.issuer_url


REFUSED = {
    "an issuer cannot end": ({"oidcIssuerProfile": {"enabled": False}}, "OIDCIssuerFeatureCannotBeDisabled"),
    "pools are a list": ({"agentPoolProfiles": "x"}, "InvalidRequestContent"),
}


@pytest.mark.parametrize("properties, code", REFUSED.values(), ids=REFUSED)
def test_a_change_that_aks_refuses(azure: Azure, properties: dict[str, object], code: str) -> None:
    """400, and the cluster stays as it was."""
    before = _ready(azure)
    assert problem(azure.ask("PATCH", _path(azure), {"properties": properties})) == (400, code)
    assert azure.get(_path(azure)) == before


def test_what_cannot_be_created(azure: Azure) -> None:
    """Workload identity without an issuer, a name that is none, a region that is missing or another."""
    alone = {"securityProfile": {"workloadIdentity": {"enabled": True}}}
    assert problem(azure.create_cluster(properties=alone)) == (400, "BadRequest")
    assert problem(azure.create_cluster("-x")) == (400, "BadRequest")
    assert problem(azure.create_cluster(location=None)) == (400, "LocationRequired")
    for elsewhere in ("\u4e1c\u7f8e", "east/us", "e" * 61):
        assert problem(azure.create_cluster(location=elsewhere)) == (400, "LocationNotAvailableForResourceType")
    _ready(azure)
    assert problem(azure.create_cluster(location="westus")) == (409, "InvalidResourceLocation")


def test_a_deletion_is_202_and_then_204(azure: Azure) -> None:
    """`az` takes 200 for an error; the cluster is there until its time has come, and its issuer goes with it."""
    _ready(azure)
    answer = azure.ask("DELETE", _path(azure))
    assert answer.status == 202
    assert azure.get(_path(azure))["properties"]["provisioningState"] == "Deleting"
    assert azure.ask("DELETE", _path(azure)).status == 202
    assert problem(azure.ask("PUT", _path(azure), CLUSTER)) == (409, "OperationNotAllowed")
    azure.world.clock.now += 1
    assert azure.get(answer.headers["azure-asyncoperation"])["status"] == "Succeeded"
    assert problem(azure.ask("GET", _path(azure))) == (404, "ResourceNotFound")
    assert azure.world.client.get(f"{azure.world.issuer.path}openid/v1/jwks").status == 404
    assert azure.ask("DELETE", _path(azure)).status == 204


def test_clusters_of_one_name_have_issuers_of_their_own(azure: Azure) -> None:
    """In two groups; deleting one leaves the other's issuer."""
    first = _ready(azure)
    azure.world.store.put_resource_group("RG2", "eastus")
    other = f"{azure.subscription}/resourceGroups/RG2/{CLUSTERS}/wilab"
    second = azure.ask("PUT", other, CLUSTER).json()
    urls = [each["properties"]["oidcIssuerProfile"]["issuerURL"] for each in (first, second)]
    assert len(set(urls)) == 2
    azure.ask("DELETE", _path(azure))
    azure.world.clock.now += 1
    azure.ask("GET", _path(azure))
    assert azure.world.client.get(urls[1].removeprefix(BASE_URL) + ".well-known/openid-configuration").status == 200


def test_without_an_api_server_there_are_no_credentials(azure: Azure) -> None:
    """The error says why, and what to do."""
    _ready(azure)
    for action in ("listClusterUserCredential", "listClusterAdminCredential"):
        answer = azure.ask("POST", f"{_path(azure)}/{action}")
        assert problem(answer) == (400, "ClusterWithoutApiServer")
        assert "wisp cloud cluster attach wilab --kubeconfig=FILE" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["wilab", ANY])
def test_a_backed_cluster_gives_its_api_servers_credentials(azure: Azure, name: str) -> None:
    """Named as AKS names them; the backing may have been there before the cluster."""
    azure.world.store.clusters.attach(Attachment(name, KUBECONFIG))
    _ready(azure)
    (given,) = azure.ask("POST", f"{_path(azure)}/listClusterUserCredential").json()["kubeconfigs"]
    document = yaml.safe_load(base64.b64decode(given["value"]))
    assert (given["name"], document["current-context"]) == ("clusterUser", "wilab")
    assert document["users"][0]["name"] == "clusterUser_WorkloadIdentityRG_wilab"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    azure.world.store.clusters.detach(name)
    assert azure.ask("POST", f"{_path(azure)}/listClusterUserCredential").status == 400


def _api_server(world: World) -> SigningKey:
    private = world.store.issuers._new_key()
    return SigningKey(kubernetes_key_id(private.public_key()), private, {})


def _published(key: SigningKey) -> str:
    return json.dumps({"keys": [key.published()]})


def _signed(world: World, key: SigningKey, url: str) -> str:
    projection = Projection("kube-system", "wi-demo-sa")
    return service_account_token(Issuer("x", "x", (key,)), url, projection, now=world.clock()).reveal()


def test_the_clusters_issuer_publishes_the_api_servers_keys(azure: Azure) -> None:
    """And nobody else's: the API server's tokens are exchanged, those of the key it had before are not."""
    world = azure.world
    key, old = _api_server(world), world.issuer.keys[-1]
    world.store.clusters.attach(Attachment("wilab", KUBECONFIG, "", _published(key)))
    assert _ready(azure)["properties"]["oidcIssuerProfile"]["issuerURL"] == world.issuer_url
    (shown,) = world.client.get(f"{world.issuer.path}openid/v1/jwks").json()["keys"]
    assert shown["kid"] == key.key_id != old.key_id
    assert world.ask(client_assertion=_signed(world, key, world.issuer_url)).status == 200
    assert world.ask(client_assertion=_signed(world, old, world.issuer_url)).code == 7000272


@pytest.mark.parametrize("url", ["https://api.test:6443/", "{own}"])
def test_an_api_server_may_have_an_issuer_of_its_own(azure: Azure, url: str) -> None:
    """Elsewhere, or one that this cloud runs under another name; the keys given are the ones believed."""
    world = azure.world
    lab = world.store.issuers.put("lab")
    url = url.format(own=BASE_URL + lab.path)
    key = _api_server(world)
    world.store.clusters.attach(Attachment(ANY, KUBECONFIG, url, _published(key)))
    assert _ready(azure)["properties"]["oidcIssuerProfile"]["issuerURL"] == url
    world.store.put_federated_credential(
        world.identity, "api", issuer=url, subject="system:serviceaccount:kube-system:wi-demo-sa"
    )
    assert world.ask(client_assertion=_signed(world, key, url)).status == 200
    assert world.ask(client_assertion=_signed(world, world.issuer.keys[-1], url)).code == 7000272
    if url.startswith(BASE_URL):
        (shown,) = world.client.get(f"{lab.path}openid/v1/jwks").json()["keys"]
        assert shown["kid"] == key.key_id


_PRIVATE = json.dumps({"keys": [{"kid": "x", "kty": "RSA", "d": "secret"}]})
BAD: dict[str, Callable[[World], Attachment]] = {
    "a name that is none": lambda _: Attachment("-", KUBECONFIG),
    "an http issuer": lambda _: Attachment("c", KUBECONFIG, "http://i/"),
    "keys for every cluster": lambda w: Attachment(ANY, KUBECONFIG, "", _published(_api_server(w))),
    "private keys": lambda _: Attachment("c", KUBECONFIG, "", _PRIVATE),
    "no keys": lambda _: Attachment("c", KUBECONFIG, "", '{"keys": []}'),
    "no key set": lambda _: Attachment("c", KUBECONFIG, "", "[]"),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_backing_that_cannot_be(world: World, make: Callable[[World], Attachment]) -> None:
    """Nothing is kept."""
    with pytest.raises(RequestError):
        world.store.clusters.attach(make(world))
    assert world.store.clusters.attachment("c") is None


@pytest.mark.parametrize("text", ["", "[", "a: b", KUBECONFIG.replace("current-context: lab", "current-context: no")])
def test_unusable_kubeconfig_is_a_request_error(text: str) -> None:
    """In one sentence, without what is in it."""
    with pytest.raises(RequestError, match="kubeconfig"):
        usable_kubeconfig(text)


def test_a_merge_patch_is_rfc_7396s() -> None:
    """Null takes away, objects are merged, everything else is replaced."""
    assert merged({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]}, {"a": None, "b": {"c": 3}, "e": [2]}) == {
        "b": {"c": 3, "d": 2},
        "e": [2],
    }


def test_the_command_attaches_an_api_server_to_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """From a kubeconfig with its files beside it and the key set on standard input; then it is listed and detached."""
    state = tmp_path / "s"
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG, encoding="utf-8")
    attach = ["cloud", "cluster", "attach", "c", "--state", str(state), "--kubeconfig", str(config)]
    assert main(attach) == 2
    (tmp_path / "ca.pem").write_text("ca", encoding="utf-8")
    (tmp_path / "tls.crt").write_text("crt", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", StringIO(_published(_api_server(world))))
    assert main([*attach, "--jwks", "-"]) == 0
    with Store(state) as store:
        attachment = store.clusters.attachment("C")
        assert attachment is not None
        assert "Y2E=" in attachment.kubeconfig
        assert "a2V5" not in repr(attachment)
        group = store.put_resource_group("RG", "eastus")
        store.clusters.create(group, "c", "eastus", {}, until=0)
        with pytest.raises(NotFoundError):
            store.issuers.named("c")
    capsys.readouterr()
    assert main(["cloud", "cluster", "list", "--state", str(state)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["state"], shown["backed"]) == ("c", "Succeeded", True)
    assert main(["cloud", "cluster", "detach", "c", "--state", str(state)]) == 0
    with Store(state) as store:
        assert store.clusters.attachment("c") is None
