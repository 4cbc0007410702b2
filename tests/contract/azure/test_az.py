"""The real az against the local cloud: everything that the walk-through and its failures need."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.azure.az import Az
from tests.contract.azure.conftest import LocalAzure, registered
from tests.unit.wisp_local.lab.fake_kubernetes import KUBECONFIG
from wisp_local.cloud.cluster import Attachment
from wisp_local.cloud.issuer import (
    Projection,
    SigningKey,
    key_set,
    kubernetes_key_id,
    new_rsa_key,
    service_account_token,
)
from wisp_local.cloud.state.store import Store
from wisp_local.sandbox.processes import ProcessContext, run, running_component

pytestmark = pytest.mark.interop


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def test_resource_groups_are_created_updated_and_deleted(az: Az) -> None:
    """Create, tag, list, ask whether there is one, delete with all that is in it, and wait for that."""
    created = az("group create -g groups-RG -l 'East US' --tags a=b")
    assert (created["location"], created["tags"]) == ("eastus", {"a": "b"})
    assert az("group update -g groups-rg --set tags.c=d")["tags"] == {"a": "b", "c": "d"}
    assert az("group exists -g GROUPS-RG") == "true"
    assert "groups-RG" in [each["name"] for each in az("group list")]
    assert "InvalidResourceGroupLocation" in az.fails("group create -g groups-RG -l westus").text
    az("identity create -g groups-RG -n app")
    az("group delete -g groups-RG --yes")
    assert az("group exists -g groups-RG") == "false"
    assert "ResourceGroupNotFound" in az.fails("identity show -g groups-RG -n app").text


def test_identities_keep_their_ids_and_are_listed(az: Az) -> None:
    """They keep their ids when they are created again; they are found by group and by subscription."""
    az("group create -g identities -l eastus")
    created = az("identity create -g identities -n app --tags team=a")
    assert az("identity create -g identities -n app")["clientId"] == created["clientId"]
    assert az("identity show -g IDENTITIES -n APP")["principalId"] == created["principalId"]
    assert [each["name"] for each in az("identity list -g identities")] == ["app"]
    assert created["id"] in [each["id"] for each in az("identity list")]
    az("identity delete -g identities -n app")
    az("identity delete -g identities -n app")
    assert "ResourceNotFound" in az.fails("identity show -g identities -n app").text


def test_federated_credentials_are_created_updated_and_deleted(az: Az) -> None:
    """Create, list, show, update, delete."""
    az("group create -g federated -l eastus")
    az("identity create -g federated -n app")
    where = "-g federated --identity-name app"
    created = az(f"identity federated-credential create {where} -n fic --issuer https://i.test/ --subject a:b")
    assert created["audiences"] == ["api://AzureADTokenExchange"]
    changed = az(f"identity federated-credential update {where} -n fic --issuer https://i.test/ --subject c:d")
    assert changed["subject"] == "c:d"
    assert az(f"identity federated-credential show {where} -n FIC")["subject"] == "c:d"
    assert [each["name"] for each in az(f"identity federated-credential list {where}")] == ["fic"]
    az(f"identity federated-credential delete {where} -n fic --yes")
    assert az(f"identity federated-credential list {where}") == []


def test_az_shows_azures_errors(az: Az, local: LocalAzure) -> None:
    """The duplicate, the twenty-first, the http issuer and the name that is too short, as az shows them."""
    az("group create -g refused -l eastus")
    az("identity create -g refused -n app")
    create = "identity federated-credential create -g refused --identity-name app --subject s"
    with Store(local.cloud.state) as store:
        identity = store.identity("refused", "app")
        for number in range(20):
            store.put_federated_credential(identity, f"fic{number}", issuer="https://i.test/", subject=str(number))
    assert (
        "(BadRequest) Too many Federated Identity Credentials" in az.fails(f"{create} -n x20 --issuer https://i/").text
    )
    with Store(local.cloud.state) as store:
        store.delete_federated_credential(identity, "fic19")
    taken = az.fails(
        "identity federated-credential create -g refused --identity-name app -n x20 --issuer "
        "https://i.test/ --subject 7"
    )
    assert "(Conflict) Issuer and subject combination already exists for this Managed Identity." in taken.text
    assert "(BadRequest)" in az.fails(f"{create} -n x20 --issuer http://i.test/").text
    assert "(BadRequest)" in az.fails(f"{create} -n x --issuer https://i.test/").text
    assert "ParentResourceNotFound" in az.fails(f"{create.replace('app', 'none')} -n x20 --issuer https://i/").text


def test_cluster_is_created_updated_and_deleted(az: Az, local: LocalAzure) -> None:
    """Create, show, list, credentials, update, delete: each as az expects it, long-running operations included."""
    az("group create -g clusters -l eastus")
    named = "-g clusters -n aks1"
    created = az(f"aks create {named} --node-count 1 --no-ssh-key")
    assert (created["provisioningState"], created["oidcIssuerProfile"]["enabled"]) == ("Succeeded", False)
    changed = az(f"aks update {named} --enable-oidc-issuer --enable-workload-identity")
    assert changed["oidcIssuerProfile"]["issuerUrl"].startswith(f"{local.cloud.url}/oidc/")
    assert changed["securityProfile"]["workloadIdentity"]["enabled"] is True
    assert changed["agentPoolProfiles"][0]["count"] == 1
    assert [each["name"] for each in az("aks list -g clusters")] == ["aks1"]
    failure = az.fails(f"aks get-credentials {named} -f kubeconfig")
    assert "wisp cloud cluster attach aks1" in failure.text
    assert az(f"aks update {named} --disable-workload-identity")["securityProfile"]["workloadIdentity"] == {
        "enabled": False
    }
    az(f"aks delete {named} --yes")
    assert "ResourceNotFound" in az.fails(f"aks show {named}").text


def test_cluster_is_created_by_the_clock_with_no_wait(az: Az) -> None:
    """The clock moves it: `--no-wait`, then `az aks wait`."""
    az("group create -g waiting -l eastus")
    az("aks create -g waiting -n aks1 --no-ssh-key --no-wait")
    az("aks wait -g waiting -n aks1 --created --interval 1 --timeout 300")
    assert az("aks show -g waiting -n aks1 --query provisioningState -o tsv") == "Succeeded"
    az("aks delete -g waiting -n aks1 --yes --no-wait")
    az("aks wait -g waiting -n aks1 --deleted --interval 1 --timeout 300")


def test_cluster_with_an_attached_api_server_gives_its_credentials(az: Az, local: LocalAzure) -> None:
    """Its credentials are what kubectl needs, and its issuer publishes the API server's keys."""
    private = new_rsa_key()
    key = SigningKey(kubernetes_key_id(private.public_key()), private, {})
    with Store(local.cloud.state) as store:
        published = json.dumps({"keys": [key.published()]})
        store.clusters.attach(Attachment("backed", KUBECONFIG, "", published))
    az("group create -g backed-RG -l eastus")
    az("aks create -g backed-RG -n backed --no-ssh-key --enable-oidc-issuer")
    az("aks get-credentials -g backed-RG -n backed -f kubeconfig")
    az("aks get-credentials -g backed-RG -n backed -f kubeconfig --admin")
    merged = yaml.safe_load((az.home / "kubeconfig").read_text(encoding="utf-8"))
    assert [each["name"] for each in merged["contexts"]] == ["backed", "backed-admin"]
    assert [each["name"] for each in merged["users"]] == [
        "clusterUser_backed-RG_backed",
        "clusterAdmin_backed-RG_backed",
    ]
    assert merged["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    issuer_url = az("aks show -g backed-RG -n backed --query oidcIssuerProfile.issuerUrl -o tsv")
    identity = az("identity create -g backed-RG -n app")
    az(
        f"identity federated-credential create -g backed-RG --identity-name app -n fic --issuer {issuer_url} --subject "
        "system:serviceaccount:default:app"
    )
    with Store(local.cloud.state) as store:
        issuer = store.issuers.named("backed")
        assert key_set(issuer) != json.loads(published)
        signed_by = type(issuer)(issuer.id, issuer.name, (key,))
        token = service_account_token(signed_by, issuer_url, Projection("default", "app"), now=store.clock())
    fresh = registered(local, az.home / "pod")
    fresh(
        f"login --service-principal -u {identity['clientId']} --tenant {identity['tenantId']} "
        f"--federated-token {token.reveal()}"
    )


def test_identity_binding_is_created_shown_listed_and_deleted(az: Az, local: LocalAzure) -> None:
    """Create, show, list and delete; the gateway of the cluster gets the identity's token, as AKS' proxy does."""
    az("group create -g bindings -l eastus")
    az("aks create -g bindings -n bound --no-ssh-key --enable-oidc-issuer --enable-workload-identity")
    issuer_url = az("aks show -g bindings -n bound --query oidcIssuerProfile.issuerUrl -o tsv")
    identity = az("identity create -g bindings -n app")
    named = "-g bindings --cluster-name bound -n app-ib"
    created = az(f"aks identity-binding create {named} --managed-identity-resource-id {identity['id']}")
    assert created["properties"] == {
        "managedIdentity": {
            "resourceId": identity["id"],
            "clientId": identity["clientId"],
            "objectId": identity["principalId"],
            "tenantId": identity["tenantId"],
        },
        "oidcIssuer": {"oidcIssuerUrl": issuer_url},
        "provisioningState": "Succeeded",
    }
    assert az(f"aks identity-binding show {named}") == created
    assert az("aks identity-binding list -g bindings --cluster-name bound") == [created]
    credential = az("identity federated-credential show -g bindings --identity-name app -n aks-identity-binding")
    assert credential["subject"] == "system:serviceaccount:wisp-system:wisp-gateway"
    with Store(local.cloud.state) as store:
        projection = Projection("wisp-system", "wisp-gateway")
        token = service_account_token(store.issuers.named("bound"), issuer_url, projection, now=store.clock())
    registered(local, az.home / "gateway")(
        f"login --service-principal -u {identity['clientId']} --tenant {identity['tenantId']} "
        f"--federated-token {token.reveal()}"
    )
    az(f"aks identity-binding delete {named} --yes")
    assert "(ResourceNotFound)" in az.fails(f"aks identity-binding show {named}").text
    az(f"aks identity-binding delete {named} --yes")
    az(f"aks identity-binding create {named} --managed-identity-resource-id {identity['id']} --no-wait")
    az(f"identity federated-credential show -g bindings --identity-name app -n {credential['name']}")


def test_az_shows_why_an_identity_binding_is_refused(az: Az) -> None:
    """The identity and the cluster must exist, and a binding keeps its identity."""
    az("group create -g unbound -l eastus")
    az("aks create -g unbound -n other --no-ssh-key --enable-oidc-issuer")
    ids = [az(f"identity create -g unbound -n {name} --query id -o tsv") for name in ("app1", "app2")]
    create = "aks identity-binding create -g unbound -n ib --managed-identity-resource-id"
    absent = az.fails(f"{create} {ids[0]}x --cluster-name other")
    assert "(ResourceNotFound) The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/app1x'" in absent.text
    assert "(LinkedInvalidPropertyId)" in az.fails(f"{create} app1 --cluster-name other").text
    assert "(ParentResourceNotFound)" in az.fails(f"{create} {ids[0]} --cluster-name absent").text
    az(f"{create} {ids[0]} --cluster-name other")
    changed = az.fails(f"{create} {ids[1]} --cluster-name other")
    assert "(PropertyChangeNotAllowed)" in changed.text


def test_account_and_token_are_those_of_the_service_principal(az: Az, local: LocalAzure) -> None:
    """The account, its subscription and tenant, and the token: a service principal's."""
    account = az("account show")
    assert account["tenantId"] == local.application.tenant_id
    assert account["user"] == {"name": local.application.client_id, "type": "servicePrincipal"}
    token = az("account get-access-token")
    assert _claims(token["accessToken"])["oid"] == local.application.principal_id
    assert [each["name"] for each in az("account list-locations")][:2] == ["eastus", "eastus2"]
    assert az("provider show -n Microsoft.ContainerService")["registrationState"] == "Registered"
    az("provider register -n Microsoft.ContainerService")


def test_wrong_secret_is_refused_with_entras_code(az: Az, local: LocalAzure) -> None:
    """The code is what people search for."""
    user, tenant = local.application.client_id, local.application.tenant_id
    refused = registered(local, az.home / "wrong").fails(
        f"login --service-principal -u {user} -p wrong --tenant {tenant}"
    )
    assert "AADSTS7000215" in refused.text


def test_roles_are_assigned_listed_and_deleted(az: Az, local: LocalAzure) -> None:
    """Assign by object id and by client id, which takes Graph; list, and delete."""
    az("group create -g roles -l eastus")
    identity = az("identity create -g roles -n app")
    scope = az("group show -g roles --query id -o tsv")
    by_id = f"--assignee-object-id {identity['principalId']} --assignee-principal-type ServicePrincipal"
    created = az(f"role assignment create --role Reader {by_id} --scope {scope}")
    assert created["principalId"] == identity["principalId"]
    az(f"role assignment create --role Contributor --assignee {identity['clientId']} --scope {scope}")
    found = az(f"role assignment list --scope {scope}")
    assert sorted(each["roleDefinitionName"] for each in found) == ["Contributor", "Reader"]
    az(f"role assignment delete --assignee {identity['clientId']} --scope {scope} --role Reader")
    assert len(az(f"role assignment list --assignee {identity['principalId']} --scope {scope}")) == 1
    shown = az(f"ad sp show --id {local.application.client_id}")
    assert shown["id"] == local.application.principal_id


@contextmanager
def _sidecar(local: LocalAzure, folder: Path, client_id: str, token_file: Path) -> Iterator[int]:
    """Run a sidecar of the identity; give its port."""
    port = _free_port()
    options = {
        "PATH": "/usr/bin:/bin",
        "AZURE_AUTHORITY_HOST": f"{local.cloud.url}/",
        "AZURE_TENANT_ID": local.application.tenant_id,
        "AZURE_CLIENT_ID": client_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
    }
    context = ProcessContext((), options)
    command = (sys.executable, "-m", "wisp.proxy", "--proxy-port", str(port))
    with running_component(
        "the sidecar", context, folder / "log", *command, "--authority-ca", local.cloud.ca_file
    ) as component:
        probe = run(context, *command, "--probe")
        if probe.status != 0:
            raise component.failure("did not become ready", probe.errors)
        yield port


def _free_port() -> int:
    import socket  # noqa: PLC0415 -- only here

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_login_with_a_managed_identity_through_the_sidecar(az: Az, local: LocalAzure, tmp_path: Path) -> None:
    """`az login --identity` with and without --client-id; the token is the walk-through's; then az works with it."""
    az("group create -g WorkloadIdentityRG -l eastus")
    az("aks create -g WorkloadIdentityRG -n wilab --no-ssh-key --enable-oidc-issuer --enable-workload-identity")
    issuer_url = az("aks show -g WorkloadIdentityRG -n wilab --query oidcIssuerProfile.issuerUrl -o tsv")
    identity = az("identity create -g WorkloadIdentityRG -n wi-demo-identity")
    az(
        "identity federated-credential create -g WorkloadIdentityRG --identity-name wi-demo-identity -n wi-demo "
        f"--issuer {issuer_url} --subject system:serviceaccount:kube-system:wi-demo-sa"
    )
    with Store(local.cloud.state) as store:
        projection = Projection("kube-system", "wi-demo-sa")
        token = service_account_token(store.issuers.named("wilab"), issuer_url, projection, now=store.clock())
    token_file = tmp_path / "token"
    token_file.touch(0o600)
    token_file.write_text(token.reveal(), encoding="utf-8")
    with _sidecar(local, tmp_path, identity["clientId"], token_file) as port:
        pod = registered(local, az.home / "identity").with_variables(
            AZURE_POD_IDENTITY_AUTHORITY_HOST=f"http://127.0.0.1:{port}"
        )
        for selector in ("", f" --client-id {identity['clientId']}"):
            pod(f"login --identity{selector}")
            token_answer = pod("account get-access-token --resource https://management.azure.com/")
            claims = _claims(token_answer["accessToken"])
            assert (claims["aud"], claims["xms_cae"]) == ("https://management.azure.com/", "1")
            assert claims["xms_mirid"] == identity["id"]
            assert isinstance(claims["xms_tcdt"], int)
            assert pod("group show -g WorkloadIdentityRG")["name"] == "WorkloadIdentityRG"


def test_restarted_cloud_accepts_cached_tokens(tmp_path: Path, local: LocalAzure) -> None:
    """The keys are in the state, so nobody has to log in again."""
    from tests.unit.wisp_local.cloud.process import running  # noqa: PLC0415 -- beside its only use

    state = tmp_path / "cloud.db"
    with Store(state) as store:
        application = store.principals.put("restart")
        secret = store.principals.add_secret(application)
    with running(state) as cloud:
        first = LocalAzure(cloud, application, secret)
        az = registered(first, tmp_path / "az")
        user, tenant = application.client_id, application.tenant_id
        az(f"login --service-principal -u {user} -p={secret.reveal()} --tenant {tenant}")
        port = int(cloud.url.rpartition(":")[2])
        assert cloud.end() == 0
    with running(state, port=port):
        az("group create -g after -l eastus")
    assert local.cloud.url != first.cloud.url


def test_users_own_az_folder_is_not_touched(az: Az) -> None:
    """All that az writes is in its configuration folder."""
    assert not (az.home / ".azure").exists()
    assert subprocess.run(["test", "-d", str(az.home / "azure")], check=False).returncode == 0
