"""The assertion of a run."""

from pathlib import Path

import jwt

from wisp.base.secret import Secret
from wisp_local.run.identity import RENEW_AFTER, federate, new_assertion
from wisp_local.run.options import LocalCloud


def _claims(assertion: Secret) -> dict[str, float]:
    return jwt.decode(assertion.reveal(), options={"verify_signature": False})


def test_assertion_lives_no_longer_than_entra_accepts(tmp_path: Path) -> None:
    state = tmp_path / "run.db"
    first = federate(state, LocalCloud(state, "app", None, 3600)).assertion
    second = new_assertion(state)
    for claims in map(_claims, (first, second)):
        assert RENEW_AFTER < claims["exp"] - claims["iat"] <= 25 * 60 * 60
    assert [_claims(assertion)["sub"] for assertion in (first, second)] == [_claims(first)["sub"]] * 2
    assert _claims(first)["iss"] == _claims(second)["iss"]
    assert first.reveal() != second.reveal()
