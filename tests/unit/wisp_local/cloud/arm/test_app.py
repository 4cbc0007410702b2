"""Who may ask Resource Manager, and what becomes of requests that it cannot place."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp_local.cloud.arm.client import CLUSTERS, IDENTITIES, VERSION, Azure, problem
from tests.unit.wisp_local.cloud.world import BASE_URL, NOW
from wisp_local.cloud.issuer import SigningKey, new_rsa_key

GUID = "11111111-2222-4333-8444-555555555555"
ANY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _forged(azure: Azure) -> str:
    key = azure.world.store.issuers.token_keys()[-1]
    _, payload, _ = azure.token().split(".")
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
def test_a_token_that_does_not_fit_is_a_401_in_azures_shape(
    azure: Azure, changes: dict[str, object], code: str
) -> None:
    """The challenge says where a good one is to be had, and neither answer nor log shows the token."""
    token = azure.token(**changes)
    answer = azure.ask("GET", azure.group, authorization=f"Bearer {token}")
    assert problem(answer) == (401, code)
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer authorization_uri="{BASE_URL}/{azure.world.tenant}", error="invalid_token"')
    assert token not in str(answer) + str(azure.world.log)
    assert azure.world.log[-1]["code"] == code


def test_an_expired_token_is_told_when_it_expired(azure: Azure) -> None:
    """In Azure's words and Azure's way to write an instant."""
    answer = azure.ask("GET", azure.group, authorization=f"Bearer {azure.token(exp=int(NOW) - 60)}")
    assert answer.json()["error"]["message"] == (
        "The access token expiry UTC time '10/9/2025 8:52:20 AM' is earlier than current UTC time "
        "'10/9/2025 8:53:20 AM'."
    )


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer e30.e30.e30"])
def test_who_shows_no_token_is_not_let_in(azure: Azure, header: str) -> None:
    """No header and no JWT are both a 401, whatever is asked for."""
    for path in (azure.group, "/subscriptions", f"{azure.subscription}/unknown", "/v1.0/servicePrincipals"):
        status, code = problem(azure.ask("GET", path, authorization=header))
        assert status == 401
        assert code in ("AuthenticationFailed", "InvalidAuthenticationToken")


def test_a_forged_token_is_not_let_in(azure: Azure) -> None:
    """The claims are right, the key is not ours; the same claims signed by us are let in."""
    answer = azure.ask("GET", azure.group, authorization=f"Bearer {_forged(azure)}")
    assert problem(answer) == (401, "InvalidAuthenticationToken")
    assert azure.ask("GET", azure.group).status == 200


def test_a_pods_token_for_resource_manager_is_let_in(azure: Azure) -> None:
    """What the token endpoint gives opens Resource Manager, of either name and with any slashes."""
    for scope in ("https://management.azure.com/", "https://management.core.windows.net//"):
        token = azure.world.ask(scope=f"{scope}.default").json()["access_token"]
        assert azure.ask("GET", azure.group, authorization=f"bearer {token}").status == 200


def test_the_keys_survive_a_restart_so_cached_tokens_do(azure: Azure) -> None:
    """A token that was signed before a key was added still opens the door."""
    token = azure.token()
    (key,) = azure.world.store.issuers.token_keys()
    assert azure.world.store.issuers.token_keys() == (key,)
    assert azure.ask("GET", azure.group, authorization=f"Bearer {token}").status == 200


PLACES = {
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


@pytest.mark.parametrize("method, path, status, code", PLACES.values(), ids=PLACES)
def test_what_is_not_there_is_said_in_azures_codes(
    azure: Azure, method: str, path: str, status: int, code: str
) -> None:
    """Clients look at the code to tell an absent parent from an absent resource."""
    place = path.format(subscription=azure.subscription, group=azure.group, identity=azure.identity)
    assert problem(azure.ask(method, place)) == (status, code)


@pytest.mark.parametrize(
    "version, code",
    [(None, "MissingApiVersionParameter"), ("v2", "InvalidApiVersionParameter"), ("", "MissingApiVersionParameter")],
)
def test_every_request_has_an_api_version(azure: Azure, version: str | None, code: str) -> None:
    """Any date does: newer clients come with newer ones."""
    assert problem(azure.ask("GET", azure.group, version=version)) == (400, code)
    assert azure.ask("GET", azure.group, version="2031-02-28-preview").status == 200


def test_paths_ignore_case_and_things_keep_theirs(azure: Azure) -> None:
    """`az group` writes resourcegroups; what was made keeps the case it was made with."""
    shown = azure.get(azure.identity.upper().replace(azure.subscription.upper(), azure.subscription))
    assert shown["name"] == "wi-demo-identity"
    assert "/resourcegroups/WorkloadIdentityRG/" in shown["id"]
    assert azure.get(azure.group.replace("resourceGroups", "resourcegroups"))["name"] == "WorkloadIdentityRG"
    assert azure.ask("GET", "/SUBSCRIPTIONS").status == 200


def test_whether_something_is_there(azure: Azure) -> None:
    """What the SDKs' `check_existence_by_id` asks of any resource: 204 or 404."""
    there = azure.ask("HEAD", azure.identity)
    assert (there.status, there.body) == (204, b"")
    assert [azure.ask("HEAD", f"{path}x").status for path in (azure.identity, azure.group)] == [404, 404]
    assert azure.ask("HEAD", f"{azure.group}/providers/Microsoft.Compute/virtualMachines/x").status == 404


def test_what_clients_write_differently(azure: Azure) -> None:
    """A base URL that keeps its last slash; names of query parameters in another case."""
    two_slashes = azure.world.client.send(
        "GET", f"https://host/{azure.group}?API-Version={VERSION}", b"", {"authorization": f"Bearer {azure.token()}"}
    )
    assert (two_slashes.status, two_slashes.json()["name"]) == (200, "WorkloadIdentityRG")


def test_every_answer_can_be_named_in_a_bug_report(azure: Azure) -> None:
    """Azure's request ids are there; the client's own correlation id comes back, what is no GUID does not."""
    for answer in (azure.ask("GET", azure.group), azure.ask("GET", f"{azure.group}x")):
        assert len(answer.headers["x-ms-request-id"]) == 36
        assert len(answer.headers["x-ms-correlation-request-id"]) == 36
    mine = {"x-ms-correlation-request-id": GUID}
    assert azure.ask("GET", azure.group, **mine).headers["x-ms-correlation-request-id"] == GUID
    other = azure.ask("GET", azure.group, **{"x-ms-correlation-request-id": "x"})
    assert other.headers["x-ms-correlation-request-id"] != "x"


def test_the_metadata_leads_to_everything(azure: Azure) -> None:
    """`az cloud register` asks without a token."""
    document = azure.world.client.get("/metadata/endpoints?api-version=2022-09-01").json()
    assert document["resourceManager"] == document["authentication"]["loginEndpoint"] == f"{BASE_URL}/"
    assert document["authentication"]["audiences"][0] == "https://management.core.windows.net/"


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"location": 1}', b'{"tags": []}', b'{"location":"\\ud800"}'])
def test_a_body_that_cannot_be_read_is_a_400(azure: Azure, body: bytes) -> None:
    """Nothing is made of it."""
    path = f"{azure.subscription}/resourceGroups/new"
    answer = azure.ask("PUT", path, body)
    assert answer.status == 400
    assert azure.ask("HEAD", path).status == 404


def test_a_body_has_a_limit(azure: Azure) -> None:
    """Resource Manager's own, 4 MiB."""
    answer = azure.ask("PUT", f"{azure.group}x", b" " * (4 * 1024 * 1024 + 1))
    assert problem(answer) == (413, "RequestContentTooLarge")


@ANY
@given(
    segments=st.lists(st.text(alphabet="abz/%?#.{}é", max_size=12), max_size=6), method=st.sampled_from(["GET", "PUT"])
)
def test_no_path_is_an_error_of_ours(azure: Azure, segments: list[str], method: str) -> None:
    """Whatever is below a resource group is refused in Azure's shape."""
    from urllib.parse import quote  # noqa: PLC0415 -- only here

    path = "/".join(quote(each, safe="") for each in segments)
    answer = azure.ask(method, f"{azure.group}/providers/{path}?api-version={VERSION}")
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
def test_no_body_is_an_error_of_ours(azure: Azure, body: object) -> None:
    """Any JSON is taken or refused, wherever it is sent, and what was taken can be shown."""
    for path in (
        f"{azure.subscription}/resourceGroups/fuzz",
        f"{azure.group}/{IDENTITIES}/fuzz",
        f"{azure.identity}/federatedIdentityCredentials/fuzz",
        f"{azure.group}/{CLUSTERS}/fuzz",
    ):
        assert azure.ask("PUT", path, body).status in (200, 201, 400, 409)
        assert azure.ask("GET", path).status in (200, 404)
