"""The table of Azure's services is well formed, and decides which resources a tenant knows."""

import re
from collections import Counter

import pytest

from tests.unit.wisp_local.cloud.asgi import Client
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SmallAzure, claims_of
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.entra.audiences import (
    CHINA,
    GERMANY,
    PUBLIC,
    US_GOVERNMENT,
    AzureCloud,
    Service,
    is_known,
    recommended,
    services,
    suggest,
)

SERVICES = tuple(services().values())
ROWS = [(service, cloud, names) for service in SERVICES for cloud, names in service.names.items()]
GUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
LABEL = r"[a-z0-9-]+"


def test_every_service_names_its_documentation() -> None:
    for service in SERVICES:
        assert re.fullmatch(r"https://learn\.microsoft\.com/[a-z0-9./-]+", service.source), service.name


@pytest.mark.parametrize("cloud", AzureCloud)
def test_services_share_no_name(cloud: AzureCloud) -> None:
    """Neither a URI, in any case, nor an application id, nor the host of an instance."""
    names = [name for _, where, names in ROWS if where is cloud for name in names.uris]
    hosts = [name for _, where, names in ROWS if where is cloud for name in (*names.accounts, *names.endpoints)]
    ids = [service.application_id for service in SERVICES if service.application_id]
    for names_of_a_kind in (
        [name.rstrip("/").lower() for name in names],
        hosts,
        ids,
        [service.name for service in SERVICES],
    ):
        assert [name for name, count in Counter(names_of_a_kind).items() if count > 1] == []


def test_names_are_normalised() -> None:
    """URIs without a trailing slash, hosts in lower case; every row can be requested by some name."""
    for service, _, names in ROWS:
        assert service.application_id is None or re.fullmatch(GUID, service.application_id)
        assert names.uris or names.accounts or service.application_id
        for uri in names.uris:
            assert re.fullmatch(rf"https://(\*\.)?{LABEL}(\.{LABEL})+(/[a-z-]+)*|api://[A-Za-z]+", uri), uri
        for host in names.accounts:
            assert re.fullmatch(rf"\*(\.(\*|{LABEL}\*?))+\.{LABEL}", host), host
        for host in names.endpoints:
            assert re.fullmatch(rf"{LABEL}(\.{LABEL})+", host), host


@pytest.mark.parametrize(
    "service, cloud", [row[:2] for row in ROWS], ids=[f"{row[0].name}, {row[1].value}" for row in ROWS]
)
def test_every_name_of_a_service_is_known(service: Service, cloud: AzureCloud) -> None:
    """In another case, with a slash and without; an instance's URL is refused with a suggestion."""
    names = service.names[cloud]
    accounts = [f"https://{name.replace('*', 'a1-b')}" for name in names.accounts]
    for name in (*names.uris, *accounts, *filter(None, [service.application_id])):
        for spelled in (name, name.upper(), f"{name}/"):
            assert is_known(spelled, (), cloud), spelled
        assert not is_known(f"{name}//", (), cloud)
        assert not is_known(f"{name}.evil.test", (), cloud)
        assert not is_known(f"https://evil.test/{name}", (), cloud)
    for host in names.endpoints:
        found = suggest(f"https://my-own.{host}/", cloud)
        assert not is_known(f"https://my-own.{host}", (), cloud)
        assert found is not None
        assert (found.service, found.cloud, found.resource) == (service.name, cloud, recommended(service, cloud))


KNOWN = [
    "https://azconfig.io",
    "https://appconfig.azure.com",
    "https://my-store.azconfig.io",
    "https://api.loganalytics.io",
    "https://monitor.azure.com/",
    "https://prometheus.monitor.azure.com",
    "499b84ac-1321-427f-aa17-267ca6975798",
    "6dae42f8-4368-4678-94ff-3960e28e3630",
    "2FF814A6-3304-4AB8-85CB-CD0E6F879C1D",
    "https://me.blob.core.windows.net",
    "https://me.documents.azure.com",
    "https://me.servicebus.windows.net",
    "https://me.westeurope.kusto.windows.net",
    "https://org.crm4.dynamics.com",
    "https://my-workspace-my-fhir.fhir.azurehealthcareapis.com",
    "api://AzureADTokenExchange",
    "https://analysis.windows.net/powerbi/api",
    "https://redis.azure.com",
    "https://*.asazure.windows.net",
    "https://ai.azure.com",
]
UNKNOWN = [
    "https://my-vault.vault.azure.net",
    "https://my.registry.azurecr.io",
    "https://api.loganalytics.azure.com",
    "https://*.vault.azure.net",
    "https://my-account.cognitiveservices.azure.com",
    "https://my-server.database.windows.net",
    "https://crm.dynamics.com",
    "https://blob.core.windows.net",
    "https://a.b.blob.core.windows.net",
    "https://me.blob.core.windows.net/container",
    "https://me.blob.core.windows.net:443",
    "http://vault.azure.net",
    "https://vault.azure.net/secrets",
    "https://microsoft.com",
    "https://anything.azure.com",
    "https://anything.windows.net",
    "https://vault.usgovcloudapi.net",
    "https://management.chinacloudapi.cn",
    "api://AzureADTokenExchangeUSGov",
    "api://nobody",
    "00000000-1111-4222-8333-444444444444",
    "https://[",
]


@pytest.mark.parametrize("audience", KNOWN)
def test_token_for_a_known_resource_has_it_as_requested(azure: SmallAzure, audience: str) -> None:
    token = azure.ask(scope=f"{audience}/.default").json()["access_token"]
    assert claims_of(token)["aud"] == audience


@pytest.mark.parametrize("audience", UNKNOWN)
def test_unknown_resource_is_refused(azure: SmallAzure, audience: str) -> None:
    """A single vault, for example, or a host below a domain of Azure."""
    assert azure.ask(scope=f"{audience}/.default").code == 500011


def test_registered_resource_is_granted(azure: SmallAzure) -> None:
    azure.store.put_resource("https://anything.azure.com")
    assert azure.ask(scope="https://anything.azure.com/.default").status == 200


OTHER_CLOUDS = {
    US_GOVERNMENT: (
        "https://vault.usgovcloudapi.net",
        "https://management.usgovcloudapi.net",
        "https://graph.microsoft.us",
    ),
    CHINA: ("https://vault.azure.cn", "https://management.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"),
    GERMANY: ("https://vault.microsoftazure.de", "https://management.microsoftazure.de", "https://graph.microsoft.de"),
}


@pytest.mark.parametrize("cloud", OTHER_CLOUDS)
def test_national_cloud_has_its_own_resources(azure: SmallAzure, cloud: AzureCloud) -> None:
    """Resource Manager takes its tokens, and names its audiences."""
    public = ("https://vault.azure.net", "https://management.azure.com", "https://graph.microsoft.com")
    with Client(create_app(azure.store, BASE_URL, Options(azure_cloud=cloud)), "cloud.test:8443") as azure.client:
        assert {azure.ask(scope=f"{name}/.default").code for name in public} == {500011}
        answers = [azure.ask(scope=f"{name}/.default") for name in OTHER_CLOUDS[cloud]]
        assert [answer.status for answer in answers] == [200] * 3
        bearer = f"Bearer {answers[1].json()['access_token']}"
        assert azure.client.get("/subscriptions?api-version=2022-12-01", authorization=bearer).status == 200
        audiences = azure.client.get("/metadata/endpoints").json()["authentication"]["audiences"]
        assert f"{OTHER_CLOUDS[cloud][1]}/" in audiences


SUGGESTED = {
    "https://my-vault.vault.azure.net/secrets/x": ("Key Vault", PUBLIC, "https://vault.azure.net"),
    "https://privatelink.vaultcore.azure.net/": ("Key Vault", PUBLIC, "https://vault.azure.net"),
    "https://graph.microsoft.com/v1.0": ("Microsoft Graph", PUBLIC, "https://graph.microsoft.com"),
    "https://vault.usgovcloudapi.net": ("Key Vault", US_GOVERNMENT, "https://vault.azure.net"),
    "https://my.grafana.azure.com": ("Azure Managed Grafana", PUBLIC, "ce34e7e5-485f-4d76-964f-b3d2b16d1e4f"),
    "https://nowhere.test": None,
    "https://[": None,
    "api://nobody": None,
}


@pytest.mark.parametrize("audience, expected", SUGGESTED.items(), ids=SUGGESTED)
def test_resource_to_request_instead_is_suggested(audience: str, expected: tuple[object, ...] | None) -> None:
    """By the host, in this cloud first and then in others."""
    found = suggest(audience)
    assert (found and (found.service, found.cloud, found.resource)) == expected
