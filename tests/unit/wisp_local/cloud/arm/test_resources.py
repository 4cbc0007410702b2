"""Groups, identities, federated credentials, roles and lists of Resource Manager."""

import threading
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp_local.cloud.arm.client import IDENTITIES, Azure, problem
from tests.unit.wisp_local.cloud.asgi import Answer, Client
from tests.unit.wisp_local.cloud.world import BASE_URL, SUBJECT
from wisp_local.cloud.arm.app import _find, _routes
from wisp_local.cloud.arm.handler import Reply, WriteLocks
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.reading import PAGE, page

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
NAME = "11111111-2222-4333-8444-555555555555"
ROLES = "providers/Microsoft.Authorization/roleAssignments"


def test_a_group_is_made_once_and_kept(azure: Azure) -> None:
    """201, then 200; HEAD tells 204 from 404; PATCH changes the tags alone; another region is a conflict."""
    path = f"{azure.subscription}/resourceGroups/rg"
    assert azure.ask("HEAD", path).status == 404
    body = {"location": "East US", "tags": {"a": "b"}}
    assert [azure.ask("PUT", path, body).status for _ in range(2)] == [201, 200]
    shown = azure.get(path)
    assert (shown["location"], shown["tags"], shown["type"]) == (
        "eastus",
        {"a": "b"},
        "Microsoft.Resources/resourceGroups",
    )
    assert azure.ask("HEAD", path).status == 204
    assert azure.ask("HEAD", path).body == b""
    assert azure.ask("PATCH", path, {"tags": {"c": "d"}}).json()["tags"] == {"c": "d"}
    assert problem(azure.ask("PUT", path, {"location": "westus"})) == (409, "InvalidResourceGroupLocation")
    assert problem(azure.ask("PUT", path, {})) == (400, "LocationRequired")


def test_a_deleted_group_takes_all_along(azure: Azure) -> None:
    """202 with a place to ask, which says 202 and, a second later, 204; cluster and issuer are gone at once."""
    azure.create_cluster()
    issuer = azure.world.client.get(f"{azure.world.issuer.path}openid/v1/jwks")
    answer = azure.ask("DELETE", azure.group)
    assert (issuer.status, answer.status, answer.headers["retry-after"]) == (200, 202, "1")
    assert azure.ask("GET", answer.headers["location"]).status == 202
    assert azure.get(answer.headers["azure-asyncoperation"])["status"] == "InProgress"
    azure.world.clock.now += 1
    assert azure.ask("GET", answer.headers["location"]).status == 204
    assert azure.get(answer.headers["azure-asyncoperation"])["status"] == "Succeeded"
    assert problem(azure.ask("GET", azure.identity)) == (404, "ResourceGroupNotFound")
    assert azure.get(f"{azure.subscription}/{IDENTITIES}") == {"value": []}
    assert azure.world.store.clusters.all() == []


def test_an_identity_keeps_its_ids(azure: Azure) -> None:
    """201, then 200 with the same ids; tags by PUT and PATCH; 200 for a deletion and 204 for another."""
    path = f"{azure.group}/{IDENTITIES}/app"
    first = azure.ask("PUT", path, {"location": "eastus", "tags": {"a": "b"}})
    again = azure.ask("PUT", path, {"location": "eastus"})
    assert (first.status, again.status) == (201, 200)
    assert first.json()["properties"] == again.json()["properties"]
    assert set(first.json()["properties"]) >= {"clientId", "principalId", "tenantId"}
    assert (first.json()["tags"], again.json()["tags"]) == ({"a": "b"}, {})
    assert azure.ask("PATCH", path, {"tags": {"x": "y"}}).json()["tags"] == {"x": "y"}
    assert problem(azure.ask("PUT", path, {"location": "westus"})) == (409, "InvalidResourceLocation")
    assert problem(azure.ask("PUT", f"{azure.group}/{IDENTITIES}/ab", {"location": "eastus"})) == (400, "BadRequest")
    assert [azure.ask("DELETE", path).status for _ in range(2)] == [200, 204]


@pytest.mark.parametrize(
    "tags", [{"a": 1}, {"": "x"}, {"a": "x" * 257}, {"x" * 513: "a"}, {str(n): "" for n in range(51)}]
)
def test_tags_have_limits(azure: Azure, tags: dict[str, object]) -> None:
    """Azure's: 50 of them, names of 512 and values of 256 characters."""
    answer = azure.ask("PUT", f"{azure.group}/{IDENTITIES}/app", {"location": "eastus", "tags": tags})
    assert problem(answer) == (400, "InvalidTags")


def test_a_federated_credential_from_creation_to_deletion(azure: Azure) -> None:
    """201, 200 when it is replaced, found in any case, 200 when deleted and 204 when there is none."""
    path = f"{azure.identity}/federatedIdentityCredentials/one"
    assert [azure.federate("one").status, azure.federate("ONE", subject="x").status] == [201, 200]
    shown = azure.get(path.upper().replace(azure.subscription.upper(), azure.subscription))
    assert (shown["name"], shown["properties"]["subject"]) == ("one", "x")
    names = [each["name"] for each in azure.get(f"{azure.identity}/federatedIdentityCredentials")["value"]]
    assert names == ["one", "wi-demo-federated-id"]
    assert [azure.ask("DELETE", path).status for _ in range(2)] == [200, 204]


REFUSED = {
    "no issuer": ({"issuer": None}, "The request format was unexpected."),
    "no subject": ({"subject": ""}, "The request format was unexpected."),
    "no audience": ({"audiences": []}, "The request format was unexpected."),
    "two audiences": ({"audiences": ["a", "b"]}, "exactly one audience"),
    "an http issuer": ({"issuer": "http://issuer.test/"}, "not an https URL"),
    "an issuer with a query": ({"issuer": "https://issuer.test/?q"}, "not an https URL"),
    "an issuer too long": ({"issuer": f"https://issuer.test/{'x' * 581}"}, "601 characters"),
    "a subject too long": ({"subject": "x" * 601}, "601 characters"),
    "an audience too long": ({"audiences": ["x" * 601]}, "601 characters"),
    "a subject with a line break": ({"subject": "a\nb"}, "cannot be printed"),
}


@pytest.mark.parametrize("changes, words", REFUSED.values(), ids=REFUSED)
def test_a_federated_credential_that_azure_would_not_take(azure: Azure, changes: dict[str, object], words: str) -> None:
    """400 BadRequest says what is wrong; nothing is kept."""
    answer = azure.federate("new", **changes)
    assert problem(answer) == (400, "BadRequest")
    assert words in answer.json()["error"]["message"]
    assert len(azure.world.store.federated_credentials(azure.world.identity)) == 1


@pytest.mark.parametrize("name", ["ab", "-abc", "a b c", "x" * 121, "a.bc"])
def test_the_names_of_federated_credentials(azure: Azure, name: str) -> None:
    """3 to 120 letters, digits, - and _, in Azure's words."""
    answer = azure.federate(name.replace(" ", "%20"))
    assert problem(answer) == (400, "BadRequest")
    assert answer.json()["error"]["message"].endswith("' is invalid.")


def test_the_longest_of_everything_is_taken(azure: Azure) -> None:
    """600 characters each, and a name of 120."""
    longest = {"issuer": f"https://i.test/{'x' * 585}", "subject": "x" * 600, "audiences": ["x" * 600]}
    assert azure.federate("x" * 120, **longest).status == 201


def test_issuer_and_subject_are_taken_once(azure: Azure) -> None:
    """The same under another name is a conflict in Azure's words; under its own it is an update."""
    mine = {"issuer": azure.world.issuer_url, "subject": SUBJECT}
    answer = azure.federate("two", **mine)
    assert problem(answer) == (409, "Conflict")
    message = "Issuer and subject combination already exists for this Managed Identity."
    assert answer.json()["error"]["message"] == message
    assert azure.federate("wi-demo-federated-id", **mine).status == 200


def test_the_twenty_first_is_refused(azure: Azure) -> None:
    """Azure's limit; one of the twenty can still be changed."""
    for number in range(19):
        assert azure.federate(f"fic{number}").status == 201
    answer = azure.federate("fic19")
    assert problem(answer) == (400, "BadRequest")
    assert "at most 20" in answer.json()["error"]["message"]
    assert azure.federate("fic0", subject="changed").status == 200


def test_one_write_at_a_time(azure: Azure) -> None:
    """While a request writes to an identity another hears Azure's 409; other identities do not matter."""
    locks = WriteLocks()
    with locks.hold("/a"):
        with pytest.raises(ResourceError) as caught, locks.hold("/A"):
            pass
        assert (caught.value.status, caught.value.code) == (
            409,
            "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
        )
        with locks.hold("/b"):
            pass
    with locks.hold("/a"):
        pass
    assert azure.federate("one").status == 201


def test_a_write_takes_a_moment() -> None:
    """In which another meets it: without, who writes two at once would hear of it only on Azure."""
    heard: list[object] = []

    def wait(seconds: float) -> None:
        heard.append(seconds)
        with pytest.raises(ResourceError) as caught, locks.hold("/a"):
            pass
        heard.append(caught.value.status)

    locks = WriteLocks(0.25, wait)
    with locks.hold("/a"):
        pass
    assert heard == [0.25, 409]


def test_writes_at_once_end_with_a_state_that_somebody_asked_for(azure: Azure) -> None:
    """Every writer hears 201 or the 409 of concurrency, at least one 201, and what was answered 201 is there."""
    heard: list[Answer] = []
    clients = [Client(azure.world.client._app, BASE_URL.removeprefix("https://")) for _ in range(8)]
    start = threading.Barrier(len(clients))
    token = azure.token()

    def write(number: int) -> None:
        body = f'{{"properties": {{"issuer": "https://i.test/", "subject": "{number}", "audiences": ["a"]}}}}'.encode()
        path = f"{azure.identity}/federatedIdentityCredentials/fic{number}?api-version=2024-11-01"
        start.wait()
        with clients[number] as client:
            heard.append(client.send("PUT", path, body, {"authorization": f"Bearer {token}"}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(clients))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    made = {each.json()["name"] for each in heard if each.status == 201}
    assert {each.status for each in heard} <= {201, 409}
    assert made
    names = {each.name for each in azure.world.store.federated_credentials(azure.world.identity)}
    assert names == made | {"wi-demo-federated-id"}


def test_lists_come_in_pages(azure: Azure) -> None:
    """`$top` gives so many and a nextLink that leads to the rest, in the order of their ids."""
    for number in range(5):
        azure.ask("PUT", f"{azure.group}/{IDENTITIES}/app{number}", {"location": "eastus"})
    found, target = [], f"{azure.group}/{IDENTITIES}?$top=2"
    while target:
        document = azure.get(target)
        assert len(document["value"]) <= 2
        found += [each["name"] for each in document["value"]]
        target = document.get("nextLink", "")
    assert found == ["app0", "app1", "app2", "app3", "app4", "wi-demo-identity"]
    assert problem(azure.ask("GET", f"{azure.subscription}/{IDENTITIES}?$top=0")) == (400, "InvalidTopQueryParameter")
    assert problem(azure.ask("GET", f"{azure.group}/{IDENTITIES}?$skiptoken=%C3%A9")) == (400, "InvalidSkipToken")


@given(st.sets(st.text(min_size=1, max_size=5), max_size=12), st.integers(1, 5))
def test_pages_are_the_whole_list_once(ids: set[str], top: int) -> None:
    """Whatever the ids are, following nextLink gives each of them once."""
    items = [{"id": each} for each in {each.lower(): each for each in ids}.values()]
    query, seen = {"$top": str(top)}, []
    for _ in range(len(items) + 1):
        document = page(items, query, "https://x/list")
        values = document["value"]
        assert isinstance(values, list)
        seen += [each["id"] for each in values]
        if "nextLink" not in document:
            break
        query = dict(parse_qsl(urlsplit(str(document["nextLink"])).query))
    assert sorted(seen) == sorted(str(each["id"]) for each in items)


def test_a_page_is_a_thousand_at_most() -> None:
    """With no $top, or a larger one."""
    items = [{"id": f"{number:05}"} for number in range(PAGE + 1)]
    for query in ({}, {"$top": "99999"}):
        document = page(items, query, "https://x/list")
        values = document["value"]
        assert isinstance(values, list)
        assert len(values) == PAGE
        assert "nextLink" in document


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
def test_paths_are_matched_by_segments(method: str, path: str, status: int, names: dict[str, str]) -> None:
    """Case does not matter; names are unescaped and keep their case; a scope may be any path."""
    handler, found = _find(ROUTES, method, path)
    assert (handler(cast("Any", None)).status, found) == (status, names)


@pytest.mark.parametrize(
    "method, path, status", [("DELETE", "/a/b", 405), ("GET", "/a", 404), ("GET", "/b/c", 404), ("GET", "/a//", 404)]
)
def test_other_paths_and_methods_are_not_found(method: str, path: str, status: int) -> None:
    """A known path with another method is told from an unknown path."""
    with pytest.raises(ResourceError) as caught:
        _find(ROUTES, method, path)
    assert caught.value.status == status


def test_roles_are_assigned_and_found(azure: Azure) -> None:
    """201; the same again is a conflict; found from the subscription, the group and below; deleted once."""
    body = {"properties": {"roleDefinitionId": f"/x/{READER}", "principalId": azure.world.identity.principal_id}}
    path = f"{azure.group}/{ROLES}/{NAME}"
    assert azure.ask("PUT", path, body).status == 201
    assert problem(azure.ask("PUT", path, body)) == (409, "RoleAssignmentExists")
    other = path.replace(NAME, NAME.replace("1", "2"))
    assert problem(azure.ask("PUT", other, body)) == (409, "RoleAssignmentExists")
    for scope in (azure.subscription, azure.group, azure.identity):
        assert NAME in [each["name"] for each in azure.get(f"{scope}/{ROLES}")["value"]]
    elsewhere = f"{azure.subscription}/resourceGroups/WorkloadIdentityRG2"
    assert NAME not in [each["name"] for each in azure.get(f"{elsewhere}/{ROLES}")["value"]]
    for principal, count in ((azure.world.identity.principal_id, 1), (NAME, 0)):
        filtered = f"{azure.group}/{ROLES}?$filter=principalId%20eq%20'{principal}'"
        assert len(azure.get(filtered)["value"]) == count
    assert azure.get(path)["properties"]["scope"] == azure.group
    assert azure.ask("DELETE", f"{azure.subscription}/{ROLES}/{NAME}").status == 204
    assert azure.get(path)["name"] == NAME
    assert [azure.ask("DELETE", path).status for _ in range(2)] == [200, 204]
    assert problem(azure.ask("GET", path)) == (404, "RoleAssignmentNotFound")


@pytest.mark.parametrize(
    "properties, code",
    [
        ({"roleDefinitionId": "none", "principalId": NAME}, "RoleDefinitionDoesNotExist"),
        ({"roleDefinitionId": READER, "principalId": "me"}, "BadRequest"),
    ],
)
def test_a_role_assignment_that_cannot_be(azure: Azure, properties: dict[str, str], code: str) -> None:
    """The role is one of Azure's, the principal a GUID."""
    answer = azure.ask("PUT", f"{azure.group}/{ROLES}/{NAME}", {"properties": properties})
    assert problem(answer) == (400, code)


def test_role_definitions_are_found_by_name(azure: Azure) -> None:
    """And by their id; a role that is not there is a 404."""
    roles = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    (found,) = azure.get(f"{roles}?$filter=roleName%20eq%20'reader'")["value"]
    assert (found["name"], found["properties"]["roleName"]) == (READER, "Reader")
    assert azure.get(f"{roles}/{READER}")["id"] == found["id"]
    assert problem(azure.ask("GET", f"{roles}/{NAME}")) == (404, "RoleDefinitionDoesNotExist")
    assert len(azure.get(roles)["value"]) > 5


def test_graph_knows_whose_principal_it_is(azure: Azure) -> None:
    """By client id, as `az` filters, by object id, and several at once; applications by client id."""
    identity, caller = azure.world.identity, azure.principal
    azure.kept = azure.token(aud=f"{BASE_URL}/")
    for asked in (f"appId eq '{identity.client_id}'", f"servicePrincipalNames/any(c:c eq '{identity.client_id}')"):
        (found,) = azure.get(f"/v1.0/servicePrincipals?$filter={asked.replace(' ', '%20')}")["value"]
        assert (found["id"], found["servicePrincipalType"]) == (identity.principal_id, "ManagedIdentity")
    assert azure.get(f"/v1.0/servicePrincipals/{caller.principal_id}")["appId"] == caller.client_id
    assert azure.ask("GET", f"/v1.0/servicePrincipals/{NAME}").status == 404
    ids = {"ids": [identity.principal_id, NAME]}
    assert len(azure.ask("POST", "/v1.0/directoryObjects/getByIds", ids).json()["value"]) == 1
    (found,) = azure.get(f"/v1.0/applications?$filter=appId%20eq%20'{caller.client_id}'")["value"]
    assert found["id"] == caller.object_id
    assert azure.ask("GET", "/v1.0/servicePrincipals?$filter=startswith(a,'b')").status == 400
    assert azure.ask("GET", "/v1.0/me").status == 400


def test_what_is_there_before_anything_is_made(azure: Azure) -> None:
    """Tenant, subscription, regions, providers and operations."""
    (tenant,) = azure.get("/tenants")["value"]
    (subscription,) = azure.get("/subscriptions")["value"]
    assert tenant["tenantId"] == subscription["tenantId"] == azure.world.tenant
    assert azure.get(azure.subscription)["state"] == "Enabled"
    assert azure.get(f"{azure.subscription}/locations")["value"][0]["displayName"] == "East US"
    assert len(azure.get(f"{azure.subscription}/providers")["value"]) == 4
    provider = f"{azure.subscription}/providers/microsoft.containerservice"
    for answer in (azure.ask("GET", provider), azure.ask("POST", f"{provider}/register")):
        assert answer.json()["registrationState"] == "Registered"
    assert azure.get("/providers/Microsoft.ManagedIdentity/operations")["value"]


@pytest.mark.parametrize(
    "wanted, names",
    [
        ("tagName eq 'env' and tagValue eq 'dev'", ["one"]),
        ("TAGNAME EQ 'Env'", ["one", "two"]),
        ("tagValue eq 'o''clock'", ["two"]),
        ("tagName eq 'dev'", []),
        ("tagName eq 'env' and tagValue eq 'Dev'", []),
        ("", ["one", "two", "WorkloadIdentityRG"]),
    ],
)
def test_groups_by_tag(azure: Azure, wanted: str, names: list[str]) -> None:
    """What `az group list --tag` asks; names of tags ignore case, values do not."""
    for name, value in (("one", "dev"), ("two", "o'clock")):
        azure.ask("PUT", f"{azure.subscription}/resourceGroups/{name}", {"location": "eastus", "tags": {"env": value}})
    found = azure.get(f"{azure.subscription}/resourceGroups?{urlencode({'$filter': wanted})}")
    assert [each["name"] for each in found["value"]] == names


@pytest.mark.parametrize(
    "wanted",
    ["name eq 'a'", "tagName ne 'a'", "tagName eq 'a' or tagValue eq 'b'", "tagName eq 'a", "tagName eq 'a' and "],
)
def test_a_filter_that_is_not_known(azure: Azure, wanted: str) -> None:
    """It is refused: a filter that is read past gives an answer that nobody asked for."""
    answer = azure.ask("GET", f"{azure.subscription}/resourceGroups?{urlencode({'$filter': wanted})}")
    assert problem(answer) == (400, "InvalidFilterInQueryString")


def test_all_resources(azure: Azure) -> None:
    """`az resource list`: of the subscription and of a group, by type, name and tag; without their properties."""
    azure.create_cluster(tags={"env": "dev"})
    azure.ask("PUT", f"{azure.subscription}/resourceGroups/other", {"location": "westus"})
    azure.ask("PUT", f"{azure.subscription}/resourceGroups/other/{IDENTITIES}/elsewhere", {"location": "westus"})

    def names(path: str, wanted: str = "") -> list[str]:
        items = azure.get(f"{path}/resources?{urlencode({'$filter': wanted})}")["value"]
        assert all({"id", "name", "type", "location", "tags"} == set(each) for each in items)
        return [each["name"] for each in items]

    assert sorted(names(azure.subscription)) == ["elsewhere", "wi-demo-identity", "wilab"]
    assert names(f"{azure.subscription}/resourceGroups/OTHER") == ["elsewhere"]
    assert names(azure.subscription, "resourceGroup eq 'Other'") == ["elsewhere"]
    kind = "microsoft.containerservice/managedclusters"
    assert names(azure.subscription, f"resourceType eq '{kind}'") == ["wilab"]
    assert names(azure.subscription, "tagName eq 'env' and tagValue eq 'dev'") == ["wilab"]
    assert names(azure.group, "name eq 'wi-demo-identity' and location eq 'eastus'") == ["wi-demo-identity"]
    assert problem(azure.ask("GET", f"{azure.subscription}/resourceGroups/none/resources"))[0] == 404
