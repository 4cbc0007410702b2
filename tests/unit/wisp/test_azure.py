"""Names of Azure things."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.azure import (
    CLOUDS,
    DEFAULT_AUTHORITY,
    authority_url,
    cloud_named,
    is_guid,
    is_tenant,
    scope_of,
    token_proxy_url,
    token_url,
    token_url_behind,
    without_credentials,
)

GUID = "6a1d0c9e-0b0f-4c39-8a31-0C34B0A0F5E1"


@given(st.uuids())
def test_every_guid_is_one(value: object) -> None:
    """In either case."""
    assert is_guid(str(value))
    assert is_guid(str(value).upper())


@pytest.mark.parametrize(
    "text", ["", "x", GUID[:-1], GUID + "0", GUID.replace("-", ""), f"{{{GUID}}}", GUID[:-1] + "g"]
)
def test_what_is_no_guid(text: str) -> None:
    """Braces, other lengths and other digits are not taken."""
    assert not is_guid(text)


@pytest.mark.parametrize(
    "text, known",
    [
        (GUID, True),
        ("contoso.onmicrosoft.com", True),
        ("contoso", True),
        ("", False),
        ("..", False),
        ("-x", False),
        ("a/b", False),
        ("a b", False),
        ("a%2fb", False),
        ("tenänt", False),
        ("a?b", False),
    ],
)
def test_tenants(text: str, known: bool) -> None:  # noqa: FBT001
    """A GUID or a domain; nothing that would change the path of the token endpoint."""
    assert is_tenant(text) is known


@pytest.mark.parametrize(
    "resource, scope",
    [
        ("https://management.azure.com", "https://management.azure.com/.default"),
        ("https://management.azure.com/", "https://management.azure.com//.default"),
        ("https://database.windows.net/", "https://database.windows.net//.default"),
        ("https://vault.azure.net/.default", "https://vault.azure.net/.default"),
        ("https://database.windows.net//.default", "https://database.windows.net//.default"),
        ("https://management.usgovcloudapi.net", "https://management.usgovcloudapi.net/.default"),
        ("https://management.chinacloudapi.cn/", "https://management.chinacloudapi.cn//.default"),
        ("api://my-app/", "api://my-app//.default"),
        ("api://0f1e2d3c-0000-4000-8000-000000000001/.default", "api://0f1e2d3c-0000-4000-8000-000000000001/.default"),
        ("api://my-app", "api://my-app/.default"),
        ("6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1", "6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1/.default"),
        (".default", ".default/.default"),
    ],
)
def test_scopes(resource: str, scope: str) -> None:
    """No slash is tidied away: Entra takes what is before the last `/.default` as the audience."""
    assert scope_of(resource) == scope


@given(st.text(min_size=1))
def test_a_scope_is_made_once(resource: str) -> None:
    """A scope's scope is itself, and the audience is the resource."""
    scope = scope_of(resource)
    assert scope_of(scope) == scope
    assert scope.removesuffix("/.default") == resource.removesuffix("/.default")


@pytest.mark.parametrize(
    "text, url",
    [
        ("https://login.microsoftonline.com/", "https://login.microsoftonline.com/"),
        ("https://login.microsoftonline.us", "https://login.microsoftonline.us/"),
        ("login.chinacloudapi.cn", "https://login.chinacloudapi.cn/"),
        (" HTTPS://login.microsoftonline.com// ", "https://login.microsoftonline.com/"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443/"),
        ("https://[::1]:8443/", "https://[::1]:8443/"),
        ("https://[::1]", "https://[::1]/"),
        ("https://host/adfs", "https://host/adfs/"),
        ("host:443", "https://host:443/"),
        ("http://login.microsoftonline.com/", None),
        ("ftp://host/", None),
        ("https://", None),
        ("https:///path", None),
        ("https://:443/", None),
        ("https://user:password@host/", None),
        ("https://host/?a=b", None),
        ("https://host/#a", None),
        ("https://ho st/", None),
        ("https://host/a\\b", None),
        ("https://host\r\nX: y/", None),
        ("https://host:https/", None),
        ("https://host:0/", None),
        ("https://host:65536/", None),
        ("https://host:٣/", None),
        ("https://host:²/", None),
        ("https://[::1/", None),
        ("https://[host]/", None),
        ("https://::1/", None),
        ("https://-host/", None),
        ("https://.host/", None),
        ("https://höst/", None),
    ],
)
def test_authorities(text: str, url: str | None) -> None:
    """They are https, of a host, perhaps a port and a path, and nothing else."""
    assert authority_url(text) == url


@given(st.text())
def test_an_authority_is_settled(text: str) -> None:
    """What is taken is taken again as it is."""
    url = authority_url(text)
    assert url is None or authority_url(url) == url


def test_the_token_endpoint() -> None:
    """It is the tenant's, version 2."""
    assert token_url("https://host/", "tenant") == "https://host/tenant/oauth2/v2.0/token"


@pytest.mark.parametrize(
    "name, authorities, resource_manager",
    [
        ("AzurePublicCloud", ["https://login.microsoftonline.com/"], "https://management.azure.com"),
        ("AzureUSGovernmentCloud", ["https://login.microsoftonline.us/"], "https://management.usgovcloudapi.net"),
        (
            "AzureChinaCloud",
            ["https://login.chinacloudapi.cn/", "https://login.partner.microsoftonline.cn/"],
            "https://management.chinacloudapi.cn",
        ),
        ("AzureGermanCloud", ["https://login.microsoftonline.de/"], "https://management.microsoftazure.de"),
    ],
)
def test_clouds(name: str, authorities: list[str], resource_manager: str) -> None:
    """By name, in any case; what the table says of each is settled: its hosts are authorities as they stand."""
    cloud = cloud_named(f" {name.upper()} ")
    assert cloud is not None
    assert (cloud.name, list(cloud.authorities), cloud.resource_manager) == (name, authorities, resource_manager)
    for authority in authorities:
        host = authority.removeprefix("https://").removesuffix("/")
        spellings = (
            authority,
            authority.removesuffix("/"),
            host,
            f"{host}/",
            authority.upper().replace(host.upper(), host),
        )
        assert {authority_url(spelling) for spelling in spellings} == {authority}


@pytest.mark.parametrize(
    "alias, name", [("AzureCloud", "AzurePublicCloud"), ("azureusgovernment", "AzureUSGovernmentCloud")]
)
def test_a_cloud_by_its_other_name(alias: str, name: str) -> None:
    """As `az cloud list` has it; azure-workload-identity takes those, too."""
    assert cloud_named(alias) == cloud_named(name) is not None


def test_the_public_cloud_is_the_default() -> None:
    """And there are no others than those above."""
    assert DEFAULT_AUTHORITY == "https://login.microsoftonline.com/"
    assert len(CLOUDS) == 4
    assert cloud_named("AzureStackCloud") is None
    assert cloud_named("") is None


@pytest.mark.parametrize(
    "token_proxy, authority, url",
    [
        ("https://proxy.test", "https://login.microsoftonline.com/", "https://proxy.test/tenant/oauth2/v2.0/token"),
        ("https://proxy.test/", "https://login.microsoftonline.us/", "https://proxy.test/tenant/oauth2/v2.0/token"),
        ("https://10.0.0.1:8443/x/y", "https://a/", "https://10.0.0.1:8443/x/y/tenant/oauth2/v2.0/token"),
        ("https://[fd00::1]/x//", "https://a/", "https://[fd00::1]/x/tenant/oauth2/v2.0/token"),
        ("https://proxy.test", "https://a/adfs/", "https://proxy.test/adfs/tenant/oauth2/v2.0/token"),
    ],
)
def test_a_custom_token_endpoint(token_proxy: str, authority: str, url: str) -> None:
    """Its own path comes first, then that of the request that it stands in for, as in azidentity's tests."""
    base = token_proxy_url(token_proxy)
    assert base is not None
    assert token_url_behind(base, authority_url(authority) or "", "tenant") == url


@pytest.mark.parametrize(
    "text",
    ["", "proxy.test", "http://proxy.test", "https://u@proxy.test", "https://x/?a=b", "https://x/#a", "https://"],
)
def test_what_is_no_custom_token_endpoint(text: str) -> None:
    """It says https itself, and has no user information, query or fragment."""
    assert token_proxy_url(text) is None


@pytest.mark.parametrize(
    "url, text",
    [
        ("https://host/path", "https://host/path"),
        ("https://user:hunter2@host/path", "https://***@host/path"),
        ("https://user:hun@ter2@host", "https://***@host"),
        ("user:hunter2@host", "***@host"),
        ("https://us://er:hunter2@host", "https://***@host"),
    ],
)
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    """No user information, however odd the URL."""
    assert without_credentials(url) == text
