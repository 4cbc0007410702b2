"""Resource groups and the list of all resources."""

from urllib.parse import urlencode

import pytest

from tests.unit.wisp_local.cloud.arm.client import IDENTITIES, ArmClient, error_of


def test_group_is_created_once_and_keeps_its_location(arm: ArmClient) -> None:
    """PUT answers 201, then 200; PATCH changes only the tags; another location is a conflict."""
    path = f"{arm.subscription}/resourceGroups/rg"
    assert arm.ask("HEAD", path).status == 404
    body = {"location": "East US", "tags": {"a": "b"}}
    assert [arm.ask("PUT", path, body).status for _ in range(2)] == [201, 200]
    shown = arm.get(path)
    assert (shown["location"], shown["tags"], shown["type"]) == (
        "eastus",
        {"a": "b"},
        "Microsoft.Resources/resourceGroups",
    )
    assert arm.ask("HEAD", path).status == 204
    assert arm.ask("HEAD", path).body == b""
    assert arm.ask("PATCH", path, {"tags": {"c": "d"}}).json()["tags"] == {"c": "d"}
    assert error_of(arm.ask("PUT", path, {"location": "westus"})) == (409, "InvalidResourceGroupLocation")
    assert error_of(arm.ask("PUT", path, {})) == (400, "LocationRequired")


def test_deleting_a_group_deletes_everything_in_it(arm: ArmClient) -> None:
    """The status URL answers 202 and, a second later, 204; cluster and issuer are deleted at once."""
    arm.create_cluster()
    issuer = arm.azure.client.get(f"{arm.azure.issuer.path}openid/v1/jwks")
    answer = arm.ask("DELETE", arm.group)
    assert (issuer.status, answer.status, answer.headers["retry-after"]) == (200, 202, "1")
    assert arm.ask("GET", answer.headers["location"]).status == 202
    assert arm.get(answer.headers["azure-asyncoperation"])["status"] == "InProgress"
    arm.azure.clock.now += 1
    assert arm.ask("GET", answer.headers["location"]).status == 204
    assert arm.get(answer.headers["azure-asyncoperation"])["status"] == "Succeeded"
    assert error_of(arm.ask("GET", arm.identity)) == (404, "ResourceGroupNotFound")
    assert arm.get(f"{arm.subscription}/{IDENTITIES}") == {"value": []}
    assert arm.azure.store.clusters.all() == []


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
def test_groups_are_filtered_by_tag(arm: ArmClient, wanted: str, names: list[str]) -> None:
    """`az group list --tag` sends these filters; names of tags ignore case, values do not."""
    for name, value in (("one", "dev"), ("two", "o'clock")):
        arm.ask("PUT", f"{arm.subscription}/resourceGroups/{name}", {"location": "eastus", "tags": {"env": value}})
    found = arm.get(f"{arm.subscription}/resourceGroups?{urlencode({'$filter': wanted})}")
    assert [each["name"] for each in found["value"]] == names


@pytest.mark.parametrize(
    "wanted",
    ["name eq 'a'", "tagName ne 'a'", "tagName eq 'a' or tagValue eq 'b'", "tagName eq 'a", "tagName eq 'a' and "],
)
def test_unknown_filter_is_refused(arm: ArmClient, wanted: str) -> None:
    """Ignoring a filter would answer a question that nobody asked."""
    answer = arm.ask("GET", f"{arm.subscription}/resourceGroups?{urlencode({'$filter': wanted})}")
    assert error_of(answer) == (400, "InvalidFilterInQueryString")


def test_all_resources_are_listed_and_filtered(arm: ArmClient) -> None:
    """`az resource list` filters by type, name and tag; the list does not show properties."""
    arm.create_cluster(tags={"env": "dev"})
    arm.ask("PUT", f"{arm.subscription}/resourceGroups/other", {"location": "westus"})
    arm.ask("PUT", f"{arm.subscription}/resourceGroups/other/{IDENTITIES}/elsewhere", {"location": "westus"})

    def names(path: str, wanted: str = "") -> list[str]:
        items = arm.get(f"{path}/resources?{urlencode({'$filter': wanted})}")["value"]
        assert all({"id", "name", "type", "location", "tags"} == set(each) for each in items)
        return [each["name"] for each in items]

    assert sorted(names(arm.subscription)) == ["elsewhere", "wi-demo-identity", "wilab"]
    assert names(f"{arm.subscription}/resourceGroups/OTHER") == ["elsewhere"]
    assert names(arm.subscription, "resourceGroup eq 'Other'") == ["elsewhere"]
    kind = "microsoft.containerservice/managedclusters"
    assert names(arm.subscription, f"resourceType eq '{kind}'") == ["wilab"]
    assert names(arm.subscription, "tagName eq 'env' and tagValue eq 'dev'") == ["wilab"]
    assert names(arm.group, "name eq 'wi-demo-identity' and location eq 'eastus'") == ["wi-demo-identity"]
    assert error_of(arm.ask("GET", f"{arm.subscription}/resourceGroups/none/resources"))[0] == 404
