"""Which client id a selector means."""

import pytest

from tests.fakes import CLIENT_ID
from wisp.imds.decision import Selector
from wisp.imds.identities import Identities

OTHER = "11111111-2222-3333-4444-555555555555"
OBJECT_ID = "aaaaaaaa-1111-2222-3333-444444444444"
RESOURCE_ID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n"


@pytest.mark.parametrize(
    "selector, wanted",
    [
        pytest.param(None, CLIENT_ID, id="the default"),
        pytest.param(Selector("client_id", CLIENT_ID), CLIENT_ID, id="its own client id"),
        pytest.param(Selector("client_id", OTHER.upper()), OTHER, id="any client id: Entra decides"),
        pytest.param(Selector("client_id", "no-guid"), None, id="no client id at all"),
        pytest.param(Selector("object_id", OBJECT_ID.upper()), CLIENT_ID, id="its object id in another case"),
        pytest.param(Selector("object_id", OTHER), None, id="another's object id"),
        pytest.param(
            Selector("resource_id", RESOURCE_ID.upper() + "/"), CLIENT_ID, id="its resource id, spelled freely"
        ),
        pytest.param(Selector("resource_id", RESOURCE_ID + "x"), None, id="another's resource id"),
        pytest.param(Selector("resource_id", OBJECT_ID), None, id="an object id given as a resource id"),
    ],
)
def test_selectors(selector: Selector | None, wanted: str | None) -> None:
    """Settings say which names the pod's own identity has."""
    assert Identities(CLIENT_ID, object_id=OBJECT_ID, resource_id=RESOURCE_ID).client_id_of(selector) == wanted


def test_no_default() -> None:
    """A pod without an identity of its own has none to give, whatever else the settings say."""
    identities = Identities(None, object_id=OBJECT_ID)
    assert identities.client_id_of(None) is None
    assert identities.client_id_of(Selector("object_id", OBJECT_ID)) is None


@pytest.mark.parametrize(
    "default, object_id, selector, expected",
    [
        (CLIENT_ID, None, Selector("object_id", OTHER), True),
        (CLIENT_ID, None, Selector("resource_id", RESOURCE_ID), True),
        (CLIENT_ID, OBJECT_ID, Selector("resource_id", RESOURCE_ID), True),
        (CLIENT_ID, OBJECT_ID, Selector("object_id", OTHER), False),
        (CLIENT_ID, None, Selector("client_id", "no-guid"), False),
        (None, None, Selector("object_id", OTHER), False),
    ],
    ids=["an object id", "a resource id", "the other kind", "another's", "no client id", "no default"],
)
def test_what_may_be_the_defaults(
    default: str | None, object_id: str | None, selector: Selector, *, expected: bool
) -> None:
    """Any name but a client id, as long as its name of that kind is not known."""
    identities = Identities(default, object_id=object_id)
    identities.learn("11111111-2222-3333-4444-666666666666", "another's", "/subscriptions/another's")
    assert identities.may_be_default(selector) is expected


def test_what_is_learnt_is_bounded() -> None:
    """A client that asks for tokens of ever more identities does not fill the memory."""
    identities = Identities(None)
    for number in range(1000):
        identities.learn(CLIENT_ID, f"object-{number}", f"/subscriptions/{number}")
    known = [n for n in range(1000) if identities.client_id_of(Selector("object_id", f"object-{n}")) is not None]
    assert known == list(range(64))
