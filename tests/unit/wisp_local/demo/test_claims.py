"""The claims of interest."""

import pytest

from wisp_local.demo.steps import CLAIM_MEANINGS, MIRID_ENDING, Expected, abbreviate, claim_problem

EXPECTED = Expected("https://management.azure.com/", "client", "principal", "tenant")
CLAIMS: dict[str, object] = {
    "aud": "https://management.azure.com/",
    "iss": "https://sts.windows.net/tenant/",
    "appid": "client",
    "oid": "principal",
    "xms_cae": "1",
    "xms_mirid": f"/subscriptions/1{MIRID_ENDING}",
    "xms_tcdt": 1645137228,
}


def test_a_token_as_promised_has_no_fault() -> None:
    """What the walk-through shows passes."""
    assert claim_problem(CLAIMS, EXPECTED) is None


@pytest.mark.parametrize(
    "name, value",
    [
        ("aud", "https://management.azure.com"),
        ("iss", "https://sts.windows.net/other/"),
        ("appid", "principal"),
        ("oid", None),
        ("xms_cae", 1),
        ("xms_mirid", "/subscriptions/1/resourcegroups/other"),
        ("xms_tcdt", "1645137228"),
        ("xms_tcdt", True),
    ],
)
def test_a_broken_promise_is_named(name: str, value: object) -> None:
    """Each claim is checked, and the one that is wrong is named with its value."""
    complaint = claim_problem({**CLAIMS, name: value}, EXPECTED)
    assert complaint is not None
    assert complaint.startswith(f"the token's claim {name} is ")


def test_the_claims_of_the_walk_through_are_explained() -> None:
    """The audience, the ids, and what only managed identities have."""
    assert {"aud", "appid", "oid", "xms_cae", "xms_mirid", "xms_tcdt"} == set(CLAIM_MEANINGS)


def test_a_token_is_not_shown() -> None:
    """Twenty characters are of the header, and tell nothing."""
    assert abbreviate("eyJ0eXAiOiJKV1QiLCJ4" + "s" * 1500) == "eyJ0eXAiOiJKV1QiLCJ4... (1,520 characters)"
