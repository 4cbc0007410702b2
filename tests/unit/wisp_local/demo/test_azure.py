"""Access tokens are verified as a resource server does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc.jwk import KeySet, RSAKey

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.cloud.issuer import SigningKey, new_rsa_key
from wisp_local.demo.azure import Verifier

NOW = 1_700_000_000.5


CLAIMS = {"aud": "https://management.azure.com/", "nbf": 1_700_000_000, "exp": 1_700_003_600}


@pytest.fixture(name="key", scope="module")
def _key() -> SigningKey:
    return SigningKey("one", new_rsa_key(), {})


@pytest.fixture(name="verifier")
def _verifier(key: SigningKey) -> Verifier:
    return Verifier(
        "https://127.0.0.1/keys", KeySet([RSAKey.import_key(key.private.public_key(), {"kid": key.key_id})])
    )


def test_valid_token_is_decoded(key: SigningKey, verifier: Verifier) -> None:
    verified = verifier.verify(key.sign({"typ": "JWT"}, CLAIMS), NOW)
    assert verified.claims == CLAIMS
    assert verified.header == {"typ": "JWT", "alg": "RS256", "kid": "one"}


def forged(key: SigningKey) -> Secret:
    """Sign with another key under the published name."""
    return SigningKey(key.key_id, new_rsa_key(), {}).sign({}, CLAIMS)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(forged, id="forged"),
        pytest.param(lambda key: key.sign({}, {**CLAIMS, "exp": 1_600_000_000}), id="expired"),
        pytest.param(lambda key: key.sign({}, {**CLAIMS, "nbf": 1_700_000_900}), id="not-yet"),
        pytest.param(lambda key: key.sign({}, {"aud": "x"}), id="for-ever"),
        pytest.param(lambda key: SigningKey("two", key.private, {}).sign({}, CLAIMS), id="key-not-published"),
        pytest.param(lambda _: Secret("eyJhbGciOiJub25lIn0.e30."), id="unsigned"),
        pytest.param(lambda _: Secret("not a token"), id="no-token"),
    ],
)
def test_invalid_token_is_rejected_without_being_shown(
    make: Callable[[SigningKey], Secret], key: SigningKey, verifier: Verifier
) -> None:
    token = make(key)
    with pytest.raises(WispError, match="the token is not valid") as refused:
        verifier.verify(token, NOW)
    assert token.reveal() not in str(refused.value)


def test_keys_that_cannot_be_fetched_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(WispError, match=r"https://127\.0\.0\.1:1/\.well-known/openid-configuration cannot be fetched"):
        Verifier.published("https://127.0.0.1:1/", tmp_path / "ca.pem")
