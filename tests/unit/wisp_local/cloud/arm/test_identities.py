"""Managed identities and their federated credentials."""

import threading

import pytest

from tests.unit.wisp_local.cloud.arm.client import IDENTITIES, ArmClient, error_of
from tests.unit.wisp_local.cloud.asgi import Answer, Client
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SUBJECT


def test_identity_keeps_its_ids_when_put_again(arm: ArmClient) -> None:
    """PUT answers 201, then 200 with the same ids; DELETE answers 200, then 204."""
    path = f"{arm.group}/{IDENTITIES}/app"
    first = arm.ask("PUT", path, {"location": "eastus", "tags": {"a": "b"}})
    again = arm.ask("PUT", path, {"location": "eastus"})
    assert (first.status, again.status) == (201, 200)
    assert first.json()["properties"] == again.json()["properties"]
    assert set(first.json()["properties"]) >= {"clientId", "principalId", "tenantId"}
    assert (first.json()["tags"], again.json()["tags"]) == ({"a": "b"}, {})
    assert arm.ask("PATCH", path, {"tags": {"x": "y"}}).json()["tags"] == {"x": "y"}
    assert error_of(arm.ask("PUT", path, {"location": "westus"})) == (409, "InvalidResourceLocation")
    assert error_of(arm.ask("PUT", f"{arm.group}/{IDENTITIES}/ab", {"location": "eastus"})) == (400, "BadRequest")
    assert [arm.ask("DELETE", path).status for _ in range(2)] == [200, 204]


@pytest.mark.parametrize(
    "tags", [{"a": 1}, {"": "x"}, {"a": "x" * 257}, {"x" * 513: "a"}, {str(n): "" for n in range(51)}]
)
def test_tags_beyond_azures_limits_are_refused(arm: ArmClient, tags: dict[str, object]) -> None:
    """Azure allows 50 tags, names of 512 and values of 256 characters."""
    answer = arm.ask("PUT", f"{arm.group}/{IDENTITIES}/app", {"location": "eastus", "tags": tags})
    assert error_of(answer) == (400, "InvalidTags")


def test_federated_credential_is_created_replaced_listed_and_deleted(arm: ArmClient) -> None:
    """PUT answers 201, then 200; names match in any case; DELETE answers 200, then 204."""
    path = f"{arm.identity}/federatedIdentityCredentials/one"
    assert [arm.federate("one").status, arm.federate("ONE", subject="x").status] == [201, 200]
    shown = arm.get(path.upper().replace(arm.subscription.upper(), arm.subscription))
    assert (shown["name"], shown["properties"]["subject"]) == ("one", "x")
    names = [each["name"] for each in arm.get(f"{arm.identity}/federatedIdentityCredentials")["value"]]
    assert names == ["one", "wi-demo-federated-id"]
    assert [arm.ask("DELETE", path).status for _ in range(2)] == [200, 204]


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
def test_invalid_federated_credential_is_refused(arm: ArmClient, changes: dict[str, object], words: str) -> None:
    """400 BadRequest says what is wrong; nothing is stored."""
    answer = arm.federate("new", **changes)
    assert error_of(answer) == (400, "BadRequest")
    assert words in answer.json()["error"]["message"]
    assert len(arm.azure.store.federated_credentials(arm.azure.identity)) == 1


@pytest.mark.parametrize("name", ["ab", "-abc", "a b c", "x" * 121, "a.bc"])
def test_invalid_credential_name_is_refused(arm: ArmClient, name: str) -> None:
    """Names have 3 to 120 letters, digits, - and _; the message is Azure's."""
    answer = arm.federate(name.replace(" ", "%20"))
    assert error_of(answer) == (400, "BadRequest")
    assert answer.json()["error"]["message"].endswith("' is invalid.")


def test_values_at_the_length_limits_are_accepted(arm: ArmClient) -> None:
    """Values may have 600 characters, names 120."""
    longest = {"issuer": f"https://i.test/{'x' * 585}", "subject": "x" * 600, "audiences": ["x" * 600]}
    assert arm.federate("x" * 120, **longest).status == 201


def test_issuer_and_subject_are_unique_within_an_identity(arm: ArmClient) -> None:
    """The same pair under another name is a conflict; under its own name it is an update."""
    mine = {"issuer": arm.azure.issuer_url, "subject": SUBJECT}
    answer = arm.federate("two", **mine)
    assert error_of(answer) == (409, "Conflict")
    message = "Issuer and subject combination already exists for this Managed Identity."
    assert answer.json()["error"]["message"] == message
    assert arm.federate("wi-demo-federated-id", **mine).status == 200


def test_twenty_first_credential_is_refused(arm: ArmClient) -> None:
    """Twenty is Azure's limit; one of the twenty can still be changed."""
    for number in range(19):
        assert arm.federate(f"fic{number}").status == 201
    answer = arm.federate("fic19")
    assert error_of(answer) == (400, "BadRequest")
    assert "at most 20" in answer.json()["error"]["message"]
    assert arm.federate("fic0", subject="changed").status == 200


def test_concurrent_writes_are_stored_or_refused_with_409(arm: ArmClient) -> None:
    """Every write gets 201 or 409, at least one 201, and what got 201 is stored."""
    answers: list[Answer] = []
    clients = [Client(arm.azure.client._app, BASE_URL.removeprefix("https://")) for _ in range(8)]
    start = threading.Barrier(len(clients))
    token = arm.token()

    def write(number: int) -> None:
        body = f'{{"properties": {{"issuer": "https://i.test/", "subject": "{number}", "audiences": ["a"]}}}}'.encode()
        path = f"{arm.identity}/federatedIdentityCredentials/fic{number}?api-version=2024-11-01"
        start.wait()
        with clients[number] as client:
            answers.append(client.send("PUT", path, body, {"authorization": f"Bearer {token}"}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(clients))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    made = {each.json()["name"] for each in answers if each.status == 201}
    assert {each.status for each in answers} <= {201, 409}
    assert made
    names = {each.name for each in arm.azure.store.federated_credentials(arm.azure.identity)}
    assert names == made | {"wi-demo-federated-id"}
