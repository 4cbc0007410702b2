"""Tenants, scopes, authorities and clouds of Azure."""

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
def test_guid_in_either_case_is_recognised(value: object) -> None:
    assert is_guid(str(value))
    assert is_guid(str(value).upper())


@pytest.mark.parametrize(
    "text", ["", "x", GUID[:-1], GUID + "0", GUID.replace("-", ""), f"{{{GUID}}}", GUID[:-1] + "g"]
)
def test_other_text_is_not_a_guid(text: str) -> None:
    """Braces, other lengths and characters that are not hexadecimal are rejected."""
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
def test_tenant_is_a_guid_or_a_domain(text: str, known: bool) -> None:  # noqa: FBT001
    """Text that would change the path of the token endpoint is rejected."""
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
def test_scope_is_the_resource_with_default_appended(resource: str, scope: str) -> None:
    """Every slash stays: Entra uses what precedes the last `/.default` as the audience."""
    assert scope_of(resource) == scope


@given(st.text(min_size=1))
def test_scope_of_a_scope_is_itself(resource: str) -> None:
    """The audience is the resource."""
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
def test_authority_is_normalised_or_rejected(text: str, url: str | None) -> None:
    """An authority is https, a host, and optionally a port and a path."""
    assert authority_url(text) == url


@given(st.text())
def test_normalised_authority_stays_the_same(text: str) -> None:
    url = authority_url(text)
    assert url is None or authority_url(url) == url


def test_token_endpoint_is_version_2_of_the_tenant() -> None:
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
def test_cloud_is_found_by_name_in_any_case(name: str, authorities: list[str], resource_manager: str) -> None:
    """Its authorities in the table are already normalised."""
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
def test_cloud_is_found_by_its_alias(alias: str, name: str) -> None:
    """The aliases are the names that `az cloud list` prints; azure-workload-identity accepts them, too."""
    assert cloud_named(alias) == cloud_named(name) is not None


def test_public_cloud_is_the_default_and_unknown_clouds_are_not_found() -> None:
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
def test_token_path_is_appended_to_a_custom_token_endpoint(token_proxy: str, authority: str, url: str) -> None:
    """The endpoint's own path comes first, then that of the replaced request, as in azidentity's tests."""
    base = token_proxy_url(token_proxy)
    assert base is not None
    assert token_url_behind(base, authority_url(authority) or "", "tenant") == url


@pytest.mark.parametrize(
    "text",
    ["", "proxy.test", "http://proxy.test", "https://u@proxy.test", "https://x/?a=b", "https://x/#a", "https://"],
)
def test_custom_token_endpoint_must_be_a_plain_https_url(text: str) -> None:
    """User information, a query and a fragment are rejected."""
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
def test_user_information_of_a_url_is_masked(url: str, text: str) -> None:
    assert without_credentials(url) == text
