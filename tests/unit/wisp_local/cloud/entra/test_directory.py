"""Which federated credential an assertion is accepted by."""

import dataclasses

import pytest

from wisp_local.cloud.entra.directory import FederatedCredential, Signature, match_credential, refuse_signature
from wisp_local.cloud.entra.refusals import Refused
from wisp_local.cloud.entra.request import Assertion

GOOD = Assertion("k", "https://i/", "s", "a", not_before=10, expires=20)
CREDENTIAL = FederatedCredential("one", "https://i/", "s", ("a",))
OTHERS = [
    FederatedCredential("issuer", "https://i", "s", ("a",)),
    FederatedCredential("subject", "https://i/", "t", ("a",)),
]


@pytest.mark.parametrize("credentials", [[CREDENTIAL], [*OTHERS, CREDENTIAL], [CREDENTIAL, *OTHERS]])
@pytest.mark.parametrize("now", [10, 19.9])
def test_exactly_matching_credential_is_found(credentials: list[FederatedCredential], now: float) -> None:
    """In any order; valid from nbf on and before exp."""
    assert match_credential(GOOD, credentials, now) == CREDENTIAL


NO_MATCH = {
    "no credentials": (GOOD, [], 15, 700211),
    "issuer": (dataclasses.replace(GOOD, issuer="https://i"), [CREDENTIAL], 15, 700211),
    "subject": (dataclasses.replace(GOOD, subject="t"), [CREDENTIAL], 15, 700213),
    "subject of another issuer": (
        dataclasses.replace(GOOD, issuer="https://i", subject="t"),
        [CREDENTIAL, *OTHERS],
        15,
        700213,
    ),
    "subject in another case": (dataclasses.replace(GOOD, subject="S"), [CREDENTIAL], 15, 7002138),
    "audience": (dataclasses.replace(GOOD, audience="A"), [CREDENTIAL], 15, 700212),
    "too early": (GOOD, [CREDENTIAL], 9.9, 700024),
    "too late": (GOOD, [CREDENTIAL], 20, 700024),
    "too long": (dataclasses.replace(GOOD, issued_at=10, expires=90011), [CREDENTIAL], 15, 70023),
}


@pytest.mark.parametrize("assertion, credentials, now, code", NO_MATCH.values(), ids=NO_MATCH)
def test_refusal_names_issuer_before_subject_before_audience_before_time(
    assertion: Assertion, credentials: list[FederatedCredential], now: float, code: int
) -> None:
    outcome = match_credential(assertion, credentials, now)
    assert isinstance(outcome, Refused)
    assert outcome.code == code


def test_only_a_verified_signature_is_not_refused() -> None:
    outcomes = {signature: refuse_signature(GOOD, signature) for signature in Signature}
    assert outcomes.pop(Signature.VERIFIED) is None
    assert {verdict.name: outcome.code for verdict, outcome in outcomes.items() if isinstance(outcome, Refused)} == {
        "WRONG": 50027,
        "KEY_NOT_PUBLISHED": 7000272,
        "KEY_NOT_USABLE": 5002730,
        "ISSUER_UNREACHABLE": 50166,
    }
