"""Which client id a selector stands for."""

import pytest

from tests.support.fakes import CLIENT_ID
from wisp.imds.answer import Refusal
from wisp.imds.identities import NOT_FOUND, Identities, Resolution, refusal_of
from wisp.imds.request import Selector

OTHER = "11111111-2222-3333-4444-555555555555"
OBJECT_ID = "aaaaaaaa-1111-2222-3333-444444444444"
RESOURCE_ID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n"


@pytest.mark.parametrize(
    "selector, expected",
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
def test_selector_resolves_to_a_client_id_by_settings(selector: Selector | None, expected: str | None) -> None:
    """The settings say which names the pod's own identity has."""
    identities = Identities(CLIENT_ID, object_id=OBJECT_ID, resource_id=RESOURCE_ID)
    assert identities.resolve(() if selector is None else (selector,)) == Resolution(expected)


def test_pod_without_an_identity_has_no_default() -> None:
    """Other settings do not matter."""
    identities = Identities(None, object_id=OBJECT_ID)
    assert identities.resolve(()) == Resolution(None)
    assert identities.resolve((Selector("object_id", OBJECT_ID),)) == Resolution(None)


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
def test_unknown_name_may_be_the_default_identity(
    default: str | None, object_id: str | None, selector: Selector, *, expected: bool
) -> None:
    """Any name but a client id, unless the default's name of that kind is known."""
    identities = Identities(default, object_id=object_id)
    identities.learn("11111111-2222-3333-4444-666666666666", "another's", "/subscriptions/another's")
    assert identities.resolve((selector,)) == (Resolution(default, certain=False) if expected else Resolution(None))


def test_number_of_learnt_identities_is_bounded() -> None:
    """A client that asks for more and more identities does not fill the memory."""
    identities = Identities(None)
    for number in range(1000):
        identities.learn(CLIENT_ID, f"object-{number}", f"/subscriptions/{number}")
    known = [n for n in range(1000) if identities.client_id_of(Selector("object_id", f"object-{n}"))]
    assert known == list(range(64))


CLIENT, OBJECT, RESOURCE = (
    Selector("client_id", CLIENT_ID),
    Selector("object_id", OBJECT_ID),
    Selector("resource_id", RESOURCE_ID),
)
OTHER_OBJECT, OTHER_RESOURCE = Selector("object_id", OTHER), Selector("resource_id", RESOURCE_ID + "x")
OTHER_CLIENT = Selector("client_id", OTHER)


@pytest.mark.parametrize(
    "selectors, meaning",
    [
        pytest.param((CLIENT, RESOURCE), Resolution(CLIENT_ID), id="client id and resource id"),
        pytest.param((RESOURCE, OBJECT, CLIENT), Resolution(CLIENT_ID), id="all three"),
        pytest.param((CLIENT, Selector("client_id", CLIENT_ID.upper())), Resolution(CLIENT_ID), id="one twice"),
        pytest.param((OTHER_CLIENT, OTHER_CLIENT), Resolution(OTHER), id="another's twice"),
        pytest.param((CLIENT, OTHER_CLIENT), Resolution(None), id="two client ids"),
        pytest.param((OTHER_CLIENT, RESOURCE), Resolution(None), id="another's client id"),
        pytest.param((CLIENT, OTHER_RESOURCE), Resolution(None), id="another's resource id"),
        pytest.param((RESOURCE, OTHER_RESOURCE), Resolution(None), id="two resource ids"),
        pytest.param(
            (OTHER_CLIENT, OTHER_RESOURCE), Resolution(OTHER, certain=False), id="another's, yet to be learnt"
        ),
        pytest.param((OTHER_CLIENT, OTHER_RESOURCE, OBJECT), Resolution(None), id="another's and one of the pod's"),
        pytest.param((CLIENT, Selector("client_id", "no-guid")), Resolution(None), id="no client id"),
    ],
)
def test_several_selectors_must_name_one_identity(selectors: tuple[Selector, ...], meaning: Resolution) -> None:
    """As far as it is known from the settings."""
    identities = Identities(CLIENT_ID, object_id=OBJECT_ID, resource_id=RESOURCE_ID)
    assert identities.resolve(selectors) == meaning
    assert identities.resolve(selectors[::-1]) == meaning


@pytest.mark.parametrize(
    "selectors, before, after",
    [
        pytest.param((CLIENT, RESOURCE), Resolution(CLIENT_ID, certain=False), Resolution(CLIENT_ID), id="its names"),
        pytest.param(
            (OBJECT, RESOURCE), Resolution(CLIENT_ID, certain=False), Resolution(CLIENT_ID), id="no client id"
        ),
        pytest.param(
            (CLIENT, OTHER_RESOURCE), Resolution(CLIENT_ID, certain=False), Resolution(None), id="another's name"
        ),
        pytest.param(
            (OTHER_OBJECT, OTHER_RESOURCE), Resolution(CLIENT_ID, certain=False), Resolution(None), id="others"
        ),
        pytest.param((OBJECT, OTHER_OBJECT), Resolution(None), Resolution(None), id="two of a kind"),
    ],
)
def test_unknown_names_are_resolved_by_the_first_token(
    selectors: tuple[Selector, ...], before: Resolution, after: Resolution
) -> None:
    """Unknown names may belong to the identity until its token gives its own names."""
    identities = Identities(CLIENT_ID)
    assert identities.resolve(selectors) == before
    identities.learn(CLIENT_ID, OBJECT_ID.upper(), RESOURCE_ID)
    assert identities.resolve(selectors) == after


def test_names_without_a_client_id_need_a_default_identity() -> None:
    """A client id selects the identity; names alone do not."""
    identities = Identities(None)
    assert identities.resolve((OTHER_CLIENT, RESOURCE)) == Resolution(OTHER, certain=False)
    assert identities.resolve((OBJECT, RESOURCE)) == Resolution(None)


@pytest.mark.parametrize(
    "selectors, expected_texts",
    [
        pytest.param([("client_id", CLIENT), ("msi_res_id", RESOURCE)], (CLIENT_ID, RESOURCE_ID), id="ids"),
        pytest.param([("mi_res_id", RESOURCE), ("msi_res_id", OTHER_RESOURCE)], (RESOURCE_ID,), id="both spellings"),
        pytest.param(
            [("client_id", CLIENT), ("object_id", Selector("object_id", "eyJh.b.c"))], ("(not an id)",), id="no id"
        ),
        pytest.param(
            [("client_id", Selector("client_id", "my-identity")), ("mi_res_id", Selector("resource_id", "/my/id"))],
            ("client_id=my-identity", "mi_res_id=/my/id"),
            id="names in place of ids",
        ),
        pytest.param(
            [("client_id", Selector("client_id", "x" * 37)), ("object_id", Selector("object_id", "a~b"))],
            ("client_id=(not an id)", "object_id=(not an id)"),
            id="what may be a secret",
        ),
        pytest.param(
            [("client_id", CLIENT), ("mi_res_id", Selector("resource_id", "/subscriptions/" + "x" * 129))],
            ("(not an id)",),
            id="too long for a name",
        ),
    ],
)
def test_conflicting_selectors_are_reported_with_their_values(
    selectors: list[tuple[str, Selector]], expected_texts: tuple[str, ...]
) -> None:
    """A value that cannot be an id is not repeated: it may be a secret in the wrong parameter."""
    refuse = refusal_of(tuple(selectors))
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (400, "invalid_request")
    assert all(name in refuse.description for name, _ in selectors)
    assert all(text in refuse.description for text in expected_texts)
    assert not any(text in refuse.description for text in ("eyJ", "xxx"))


def test_unknown_identity_named_twice_is_not_found() -> None:
    """It is not reported as two identities."""
    upper = Selector("resource_id", RESOURCE_ID.upper())
    assert refusal_of((("msi_res_id", RESOURCE), ("mi_res_id", upper))) == NOT_FOUND
