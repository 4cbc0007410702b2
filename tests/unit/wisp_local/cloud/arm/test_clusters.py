"""Managed clusters: their life by the clock, their issuers, and the API servers attached to them."""

import base64
import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.wisp_local.cloud.arm.client import CLUSTER, CLUSTERS, ArmClient, error_of
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SmallAzure
from wisp.cli import main
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.errors import NotFoundError, RequestError
from wisp_local.cloud.issuer import (
    Issuer,
    Projection,
    SigningKey,
    kubernetes_key_id,
    service_account_token,
)
from wisp_local.cloud.kubeconfig import check_kubeconfig
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


def _path(arm: ArmClient, name: str = "wilab") -> str:
    return f"{arm.group}/{CLUSTERS}/{name}"


def _ready(arm: ArmClient, name: str = "wilab", **changes: object) -> Any:
    assert arm.create_cluster(name, **changes).status == 201
    arm.azure.clock.now += 1
    return arm.get(_path(arm, name))


def test_creation_ends_by_the_clock(arm: ArmClient) -> None:
    """The operation is InProgress and then Succeeded, however often it is polled."""
    answer = arm.create_cluster()
    assert (answer.status, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
    operation = answer.headers["azure-asyncoperation"]
    for _ in range(3):
        polled = arm.ask("GET", operation)
        assert (polled.json()["status"], polled.headers["retry-after"]) == ("InProgress", "1")
    arm.azure.clock.now += 1
    assert arm.get(operation)["status"] == "Succeeded"
    assert arm.get(_path(arm))["properties"]["provisioningState"] == "Succeeded"


def test_cluster_shows_what_az_needs(arm: ArmClient) -> None:
    """The issuer is `issuerURL`; the nodes' identity, the pools and the defaults of AKS are there."""
    shown = _ready(arm)
    properties = shown["properties"]
    assert properties["oidcIssuerProfile"] == {"enabled": True, "issuerURL": arm.azure.issuer_url}
    assert set(properties["identityProfile"]["kubeletidentity"]) == {"clientId", "objectId", "resourceId"}
    assert properties["agentPoolProfiles"][0]["vmSize"] == "Standard_DS2_v2"
    assert properties["securityProfile"] == {"workloadIdentity": {"enabled": True}}
    assert properties["nodeResourceGroup"] == "MC_WorkloadIdentityRG_wilab_eastus"
    assert shown["identity"]["tenantId"] == arm.azure.tenant
    assert shown["id"].endswith("/resourcegroups/WorkloadIdentityRG/" + CLUSTERS + "/wilab")
    assert [each["name"] for each in arm.get(f"{arm.subscription}/{CLUSTERS}")["value"]] == ["wilab"]
    assert [each["name"] for each in arm.get(f"{arm.group}/{CLUSTERS}")["value"]] == ["wilab"]


def test_passwords_are_not_stored(arm: ArmClient) -> None:
    """A service principal's secret and the Windows administrator's password are dropped."""
    properties = {
        "servicePrincipalProfile": {"clientId": "x", "secret": "s3cret-1"},
        "windowsProfile": {"adminUsername": "u", "adminPassword": "s3cret-2"},
    }
    shown = json.dumps(_ready(arm, properties=properties))
    arm.azure.store._database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert "s3cret" not in shown
    assert b"s3cret" not in arm.azure.store.path.read_bytes()
    assert '"clientId": "x"' in shown


def test_update_ends_by_the_clock_and_excludes_other_changes(arm: ArmClient) -> None:
    """PUT and PATCH enable the issuer and workload identity; meanwhile nothing else can be changed."""
    plain = _ready(arm, properties={})
    assert plain["properties"]["oidcIssuerProfile"] == {"enabled": False}
    answer = arm.ask("PUT", _path(arm), CLUSTER)
    assert (answer.status, answer.json()["properties"]["provisioningState"]) == (200, "Updating")
    assert error_of(arm.ask("PATCH", _path(arm), {"tags": {"a": "b"}})) == (409, "OperationNotAllowed")
    arm.azure.clock.now += 1
    off = {"properties": {"securityProfile": {"workloadIdentity": {"enabled": False}}}, "tags": {"a": "b"}}
    assert arm.ask("PATCH", _path(arm), off).status == 200
    arm.azure.clock.now += 1
    shown = arm.get(_path(arm))
    assert shown["tags"] == {"a": "b"}
    assert shown["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": False}
    assert shown["properties"]["oidcIssuerProfile"]["issuerURL"] == arm.azure.issuer_url


REFUSED = {
    "an issuer cannot end": ({"oidcIssuerProfile": {"enabled": False}}, "OIDCIssuerFeatureCannotBeDisabled"),
    "pools are a list": ({"agentPoolProfiles": "x"}, "InvalidRequestContent"),
}


@pytest.mark.parametrize("properties, code", REFUSED.values(), ids=REFUSED)
def test_change_that_aks_rejects_is_refused(arm: ArmClient, properties: dict[str, object], code: str) -> None:
    """The answer is 400, and the cluster is unchanged."""
    before = _ready(arm)
    assert error_of(arm.ask("PATCH", _path(arm), {"properties": properties})) == (400, code)
    assert arm.get(_path(arm)) == before


def test_invalid_cluster_is_refused(arm: ArmClient) -> None:
    """Workload identity without an issuer, an invalid name, a missing, invalid or different location."""
    alone = {"securityProfile": {"workloadIdentity": {"enabled": True}}}
    assert error_of(arm.create_cluster(properties=alone)) == (400, "BadRequest")
    assert error_of(arm.create_cluster("-x")) == (400, "BadRequest")
    assert error_of(arm.create_cluster(location=None)) == (400, "LocationRequired")
    for elsewhere in ("\u4e1c\u7f8e", "east/us", "e" * 61):
        assert error_of(arm.create_cluster(location=elsewhere)) == (400, "LocationNotAvailableForResourceType")
    _ready(arm)
    assert error_of(arm.create_cluster(location="westus")) == (409, "InvalidResourceLocation")


def test_deletion_is_202_and_then_204(arm: ArmClient) -> None:
    """`az` treats 200 as an error; the cluster exists until the operation ends, and its issuer is deleted with it."""
    _ready(arm)
    answer = arm.ask("DELETE", _path(arm))
    assert answer.status == 202
    assert arm.get(_path(arm))["properties"]["provisioningState"] == "Deleting"
    assert arm.ask("DELETE", _path(arm)).status == 202
    assert error_of(arm.ask("PUT", _path(arm), CLUSTER)) == (409, "OperationNotAllowed")
    arm.azure.clock.now += 1
    assert arm.get(answer.headers["azure-asyncoperation"])["status"] == "Succeeded"
    assert error_of(arm.ask("GET", _path(arm))) == (404, "ResourceNotFound")
    assert arm.azure.client.get(f"{arm.azure.issuer.path}openid/v1/jwks").status == 404
    assert arm.ask("DELETE", _path(arm)).status == 204


def test_clusters_of_the_same_name_have_different_issuers(arm: ArmClient) -> None:
    """They are in two groups; deleting one cluster leaves the other's issuer."""
    first = _ready(arm)
    arm.azure.store.put_resource_group("RG2", "eastus")
    other = f"{arm.subscription}/resourceGroups/RG2/{CLUSTERS}/wilab"
    second = arm.ask("PUT", other, CLUSTER).json()
    urls = [each["properties"]["oidcIssuerProfile"]["issuerURL"] for each in (first, second)]
    assert len(set(urls)) == 2
    arm.ask("DELETE", _path(arm))
    arm.azure.clock.now += 1
    arm.ask("GET", _path(arm))
    assert arm.azure.client.get(urls[1].removeprefix(BASE_URL) + ".well-known/openid-configuration").status == 200


def test_cluster_without_an_api_server_has_no_credentials(arm: ArmClient) -> None:
    """The error says why, and names the command that attaches one."""
    _ready(arm)
    for action in ("listClusterUserCredential", "listClusterAdminCredential"):
        answer = arm.ask("POST", f"{_path(arm)}/{action}")
        assert error_of(answer) == (400, "ClusterWithoutApiServer")
        assert "wisp cloud cluster attach wilab --kubeconfig=FILE" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["wilab", ANY])
def test_attached_api_server_provides_the_credentials(arm: ArmClient, name: str) -> None:
    """They are named as AKS names them; the API server may be attached before the cluster exists."""
    arm.azure.store.clusters.attach(Attachment(name, KUBECONFIG))
    _ready(arm)
    (given,) = arm.ask("POST", f"{_path(arm)}/listClusterUserCredential").json()["kubeconfigs"]
    document = yaml.safe_load(base64.b64decode(given["value"]))
    assert (given["name"], document["current-context"]) == ("clusterUser", "wilab")
    assert document["users"][0]["name"] == "clusterUser_WorkloadIdentityRG_wilab"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    arm.azure.store.clusters.detach(name)
    assert arm.ask("POST", f"{_path(arm)}/listClusterUserCredential").status == 400


def _api_server(azure: SmallAzure) -> SigningKey:
    private = azure.store.issuers._new_key()
    return SigningKey(kubernetes_key_id(private.public_key()), private, {})


def _published(key: SigningKey) -> str:
    return json.dumps({"keys": [key.published()]})


def _signed(azure: SmallAzure, key: SigningKey, url: str) -> str:
    projection = Projection("kube-system", "wi-demo-sa")
    return service_account_token(Issuer("x", "x", (key,)), url, projection, now=azure.clock()).reveal()


def test_issuer_publishes_the_keys_of_the_attached_api_server(arm: ArmClient) -> None:
    """The API server's tokens are exchanged, those of the key that the issuer had before are not."""
    azure = arm.azure
    key, old = _api_server(azure), azure.issuer.keys[-1]
    azure.store.clusters.attach(Attachment("wilab", KUBECONFIG, "", _published(key)))
    assert _ready(arm)["properties"]["oidcIssuerProfile"]["issuerURL"] == azure.issuer_url
    (shown,) = azure.client.get(f"{azure.issuer.path}openid/v1/jwks").json()["keys"]
    assert shown["kid"] == key.key_id != old.key_id
    assert azure.ask(client_assertion=_signed(azure, key, azure.issuer_url)).status == 200
    assert azure.ask(client_assertion=_signed(azure, old, azure.issuer_url)).code == 7000272


@pytest.mark.parametrize("url", ["https://api.test:6443/", "{own}"])
def test_attached_api_server_may_have_its_own_issuer(arm: ArmClient, url: str) -> None:
    """Elsewhere, or one that this cloud runs under another name; the given keys are the ones trusted."""
    azure = arm.azure
    lab = azure.store.issuers.put("lab")
    url = url.format(own=BASE_URL + lab.path)
    key = _api_server(azure)
    azure.store.clusters.attach(Attachment(ANY, KUBECONFIG, url, _published(key)))
    assert _ready(arm)["properties"]["oidcIssuerProfile"]["issuerURL"] == url
    azure.store.put_federated_credential(
        azure.identity, "api", issuer=url, subject="system:serviceaccount:kube-system:wi-demo-sa"
    )
    assert azure.ask(client_assertion=_signed(azure, key, url)).status == 200
    assert azure.ask(client_assertion=_signed(azure, azure.issuer.keys[-1], url)).code == 7000272
    if url.startswith(BASE_URL):
        (shown,) = azure.client.get(f"{lab.path}openid/v1/jwks").json()["keys"]
        assert shown["kid"] == key.key_id


_PRIVATE = json.dumps({"keys": [{"kid": "x", "kty": "RSA", "d": "secret"}]})


BAD: dict[str, Callable[[SmallAzure], Attachment]] = {
    "an invalid name": lambda _: Attachment("-", KUBECONFIG),
    "an http issuer": lambda _: Attachment("c", KUBECONFIG, "http://i/"),
    "keys for every cluster": lambda w: Attachment(ANY, KUBECONFIG, "", _published(_api_server(w))),
    "private keys": lambda _: Attachment("c", KUBECONFIG, "", _PRIVATE),
    "no keys": lambda _: Attachment("c", KUBECONFIG, "", '{"keys": []}'),
    "no key set": lambda _: Attachment("c", KUBECONFIG, "", "[]"),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_invalid_attachment_is_refused(azure: SmallAzure, make: Callable[[SmallAzure], Attachment]) -> None:
    """Nothing is stored."""
    with pytest.raises(RequestError):
        azure.store.clusters.attach(make(azure))
    assert azure.store.clusters.attachment("c") is None


@pytest.mark.parametrize("text", ["", "[", "a: b", KUBECONFIG.replace("current-context: lab", "current-context: no")])
def test_unusable_kubeconfig_is_a_request_error(text: str) -> None:
    """In one sentence, without what is in it."""
    with pytest.raises(RequestError, match="kubeconfig"):
        check_kubeconfig(text)


def test_command_attaches_lists_and_detaches_an_api_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, azure: SmallAzure
) -> None:
    """The kubeconfig refers to files next to it, and the key set comes from standard input."""
    state = tmp_path / "s"
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG, encoding="utf-8")
    attach = ["cloud", "cluster", "attach", "c", "--state", str(state), "--kubeconfig", str(config)]
    assert main(attach) == 2
    (tmp_path / "ca.pem").write_text("ca", encoding="utf-8")
    (tmp_path / "tls.crt").write_text("crt", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", StringIO(_published(_api_server(azure))))
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
