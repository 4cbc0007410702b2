"""Authentication, routes and headers of Resource Manager."""

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp_local.cloud.arm.client import CLUSTERS, IDENTITIES, VERSION, ArmClient, error_of
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, NOW
from wisp_local.cloud.arm.app import _find, _routes
from wisp_local.cloud.arm.handler import Reply
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.issuer import (
    SigningKey,
    new_rsa_key,
)

GUID = "11111111-2222-4333-8444-555555555555"


ANY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _forged(arm: ArmClient) -> str:
    key = arm.azure.store.issuers.token_keys()[-1]
    _, payload, _ = arm.token().split(".")
    head, _, signature = SigningKey(key.key_id, new_rsa_key(), {}).sign({}, {}).reveal().split(".")
    return f"{head}.{payload}.{signature}"


TOKENS = {
    "expired": ({"exp": int(NOW)}, "ExpiredAuthenticationToken"),
    "not yet valid": ({"nbf": int(NOW) + 301}, "InvalidAuthenticationToken"),
    "of another tenant": ({"iss": f"https://sts.windows.net/{GUID}/"}, "InvalidAuthenticationTokenTenant"),
    "for another resource": ({"aud": "https://vault.azure.net"}, "InvalidAuthenticationTokenAudience"),
    "without a time": ({"exp": None}, "InvalidAuthenticationToken"),
    "without an audience": ({"aud": None}, "InvalidAuthenticationTokenAudience"),
}


@pytest.mark.parametrize("changes, code", TOKENS.values(), ids=TOKENS)
def test_unsuitable_token_is_refused_with_401_and_a_challenge(
    arm: ArmClient, changes: dict[str, object], code: str
) -> None:
    """The challenge names the authority, and neither the answer nor the log contains the token."""
    token = arm.token(**changes)
    answer = arm.ask("GET", arm.group, authorization=f"Bearer {token}")
    assert error_of(answer) == (401, code)
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer authorization_uri="{BASE_URL}/{arm.azure.tenant}", error="invalid_token"')
    assert token not in str(answer) + str(arm.azure.log)
    assert arm.azure.log[-1]["code"] == code


def test_expired_token_is_refused_with_its_expiry(arm: ArmClient) -> None:
    """The message and its times are in Azure's format."""
    answer = arm.ask("GET", arm.group, authorization=f"Bearer {arm.token(exp=int(NOW) - 60)}")
    assert answer.json()["error"]["message"] == (
        "The access token expiry UTC time '10/9/2025 8:52:20 AM' is earlier than current UTC time "
        "'10/9/2025 8:53:20 AM'."
    )


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer e30.e30.e30"])
def test_request_without_a_readable_token_is_refused(arm: ArmClient, header: str) -> None:
    """A missing header and text that is not a JWT are both a 401, for any path."""
    for path in (arm.group, "/subscriptions", f"{arm.subscription}/unknown", "/v1.0/servicePrincipals"):
        status, code = error_of(arm.ask("GET", path, authorization=header))
        assert status == 401
        assert code in ("AuthenticationFailed", "InvalidAuthenticationToken")


def test_forged_token_is_refused(arm: ArmClient) -> None:
    """The claims are right but the key is not this cloud's."""
    answer = arm.ask("GET", arm.group, authorization=f"Bearer {_forged(arm)}")
    assert error_of(answer) == (401, "InvalidAuthenticationToken")
    assert arm.ask("GET", arm.group).status == 200


def test_token_from_the_token_endpoint_is_accepted(arm: ArmClient) -> None:
    """Resource Manager accepts tokens for either of its names, with any number of slashes."""
    for scope in ("https://management.azure.com/", "https://management.core.windows.net//"):
        token = arm.azure.ask(scope=f"{scope}.default").json()["access_token"]
        assert arm.ask("GET", arm.group, authorization=f"bearer {token}").status == 200


def test_token_is_accepted_after_the_keys_are_read_again(arm: ArmClient) -> None:
    """The keys are part of the state, so cached tokens survive a restart."""
    token = arm.token()
    (key,) = arm.azure.store.issuers.token_keys()
    assert arm.azure.store.issuers.token_keys() == (key,)
    assert arm.ask("GET", arm.group, authorization=f"Bearer {token}").status == 200


MISSING = {
    "type unknown": ("GET", "{group}/providers/Microsoft.Web/sites/x", 404, "InvalidResourceType"),
    "root unknown": ("GET", "/providers/x", 404, "InvalidResourceType"),
    "subscription other": ("GET", f"/subscriptions/{GUID}/resourceGroups", 404, "SubscriptionNotFound"),
    "group unknown": ("GET", "{subscription}/resourceGroups/none", 404, "ResourceGroupNotFound"),
    "identity of no group": (
        "GET",
        f"{{subscription}}/resourceGroups/none/{IDENTITIES}/x",
        404,
        "ResourceGroupNotFound",
    ),
    "identity unknown": ("GET", f"{{group}}/{IDENTITIES}/none", 404, "ResourceNotFound"),
    "credential of no identity": (
        "GET",
        f"{{group}}/{IDENTITIES}/none/federatedIdentityCredentials",
        404,
        "ParentResourceNotFound",
    ),
    "credential unknown": ("GET", "{identity}/federatedIdentityCredentials/none", 404, "ResourceNotFound"),
    "cluster unknown": ("GET", f"{{group}}/{CLUSTERS}/none", 404, "ResourceNotFound"),
    "operation unknown": ("GET", "{subscription}/operations/none", 404, "OperationNotFound"),
    "namespace unknown": ("GET", "{subscription}/providers/Microsoft.Web", 404, "InvalidResourceNamespace"),
    "method": ("POST", "{group}", 405, "MethodNotAllowed"),
}


@pytest.mark.parametrize("method, path, status, code", MISSING.values(), ids=MISSING)
def test_missing_resources_are_reported_with_azures_codes(
    arm: ArmClient, method: str, path: str, status: int, code: str
) -> None:
    """Clients distinguish a missing parent from a missing resource by the code."""
    place = path.format(subscription=arm.subscription, group=arm.group, identity=arm.identity)
    assert error_of(arm.ask(method, place)) == (status, code)


@pytest.mark.parametrize(
    "version, code",
    [(None, "MissingApiVersionParameter"), ("v2", "InvalidApiVersionParameter"), ("", "MissingApiVersionParameter")],
)
def test_api_version_is_required_and_any_date_is_accepted(arm: ArmClient, version: str | None, code: str) -> None:
    """Newer clients send newer versions."""
    assert error_of(arm.ask("GET", arm.group, version=version)) == (400, code)
    assert arm.ask("GET", arm.group, version="2031-02-28-preview").status == 200


def test_paths_ignore_case_and_resources_keep_their_spelling(arm: ArmClient) -> None:
    """`az group` writes resourcegroups; a resource keeps the case with which it was created."""
    shown = arm.get(arm.identity.upper().replace(arm.subscription.upper(), arm.subscription))
    assert shown["name"] == "wi-demo-identity"
    assert "/resourcegroups/WorkloadIdentityRG/" in shown["id"]
    assert arm.get(arm.group.replace("resourceGroups", "resourcegroups"))["name"] == "WorkloadIdentityRG"
    assert arm.ask("GET", "/SUBSCRIPTIONS").status == 200


def test_head_answers_204_or_404(arm: ArmClient) -> None:
    """`check_existence_by_id` of the SDKs sends HEAD for any resource."""
    there = arm.ask("HEAD", arm.identity)
    assert (there.status, there.body) == (204, b"")
    assert [arm.ask("HEAD", f"{path}x").status for path in (arm.identity, arm.group)] == [404, 404]
    assert arm.ask("HEAD", f"{arm.group}/providers/Microsoft.Compute/virtualMachines/x").status == 404


def test_double_slash_and_other_case_of_query_parameters_are_accepted(arm: ArmClient) -> None:
    """Some clients append paths to a base URL that ends in a slash."""
    two_slashes = arm.azure.client.send(
        "GET", f"https://host/{arm.group}?API-Version={VERSION}", b"", {"authorization": f"Bearer {arm.token()}"}
    )
    assert (two_slashes.status, two_slashes.json()["name"]) == (200, "WorkloadIdentityRG")


ROUTES = _routes(
    {
        "GET /a/{x}": lambda _: Reply(1),
        "PUT /a/{x}": lambda _: Reply(2),
        "GET /p/{y}": lambda _: Reply(3),
        "GET /{scope:path}/p/{y}": lambda _: Reply(4),
    }
)


@pytest.mark.parametrize(
    "method, path, status, names",
    [
        ("GET", "/A/b%20C", 1, {"x": "b C"}),
        ("PUT", "/a/b", 2, {"x": "b"}),
        ("HEAD", "//%61/b/", 1, {"x": "b"}),
        ("GET", "/a/%2F", 1, {"x": "/"}),
        ("GET", "/P/d", 3, {"y": "d"}),
        ("GET", "/a/b/c/p/d/", 4, {"scope": "a/b/c", "y": "d"}),
        ("GET", "/a%2Fb/p/p/d", 4, {"scope": "a/b/p", "y": "d"}),
    ],
)
def test_paths_are_matched_by_segments_and_names_unescaped(
    method: str, path: str, status: int, names: dict[str, str]
) -> None:
    """Case does not matter; names are unescaped and keep their case; a scope may be any path."""
    handler, found = _find(ROUTES, method, path)
    assert (handler(cast("Any", None)).status, found) == (status, names)


@pytest.mark.parametrize(
    "method, path, status", [("DELETE", "/a/b", 405), ("GET", "/a", 404), ("GET", "/b/c", 404), ("GET", "/a//", 404)]
)
def test_unknown_path_is_404_and_other_method_is_405(method: str, path: str, status: int) -> None:
    """A known path with another method is distinguished from an unknown path."""
    with pytest.raises(ResourceError) as caught:
        _find(ROUTES, method, path)
    assert caught.value.status == status


def test_every_answer_has_request_and_correlation_ids(arm: ArmClient) -> None:
    """The client's own correlation id is returned if it is a GUID."""
    for answer in (arm.ask("GET", arm.group), arm.ask("GET", f"{arm.group}x")):
        assert len(answer.headers["x-ms-request-id"]) == 36
        assert len(answer.headers["x-ms-correlation-request-id"]) == 36
    mine = {"x-ms-correlation-request-id": GUID}
    assert arm.ask("GET", arm.group, **mine).headers["x-ms-correlation-request-id"] == GUID
    other = arm.ask("GET", arm.group, **{"x-ms-correlation-request-id": "x"})
    assert other.headers["x-ms-correlation-request-id"] != "x"


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"location": 1}', b'{"tags": []}', b'{"location":"\\ud800"}'])
def test_unreadable_body_is_refused_with_400(arm: ArmClient, body: bytes) -> None:
    """Nothing is created."""
    path = f"{arm.subscription}/resourceGroups/new"
    answer = arm.ask("PUT", path, body)
    assert answer.status == 400
    assert arm.ask("HEAD", path).status == 404


def test_body_above_the_limit_is_refused_with_413(arm: ArmClient) -> None:
    """The limit is Resource Manager's, 4 MiB."""
    answer = arm.ask("PUT", f"{arm.group}x", b" " * (4 * 1024 * 1024 + 1))
    assert error_of(answer) == (413, "RequestContentTooLarge")


@ANY
@given(
    segments=st.lists(st.text(alphabet="abz/%?#.{}é", max_size=12), max_size=6), method=st.sampled_from(["GET", "PUT"])
)
def test_any_path_is_answered_in_azures_format(arm: ArmClient, segments: list[str], method: str) -> None:
    """Unknown paths below a resource group are refused in Azure's format."""
    from urllib.parse import quote  # noqa: PLC0415 -- only here

    path = "/".join(quote(each, safe="") for each in segments)
    answer = arm.ask(method, f"{arm.group}/providers/{path}?api-version={VERSION}")
    assert answer.status in (400, 404, 405)
    assert answer.json()["error"]["code"]


@ANY
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        "location",
                        "tags",
                        "properties",
                        "issuer",
                        "subject",
                        "audiences",
                        "agentPoolProfiles",
                        "oidcIssuerProfile",
                        "securityProfile",
                        "enabled",
                        "workloadIdentity",
                        "a",
                    ]
                ),
                inner,
                max_size=4,
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_any_json_body_is_accepted_or_refused(arm: ArmClient, body: object) -> None:
    """No JSON is an internal error, and what was accepted can be read again."""
    for path in (
        f"{arm.subscription}/resourceGroups/fuzz",
        f"{arm.group}/{IDENTITIES}/fuzz",
        f"{arm.identity}/federatedIdentityCredentials/fuzz",
        f"{arm.group}/{CLUSTERS}/fuzz",
    ):
        assert arm.ask("PUT", path, body).status in (200, 201, 400, 409)
        assert arm.ask("GET", path).status in (200, 404)
