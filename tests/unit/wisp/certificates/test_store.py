"""The Secret as a document: what is read from it, and what is written."""

import base64
from typing import Any

import pytest

from wisp.base.secret import Secret
from wisp.certificates.decision import EMPTY, CertificateSet
from wisp.certificates.store import (
    Published,
    certificates_in,
    changed_secret,
    record_in,
)

CERTIFICATES = CertificateSet(b"ca", Secret("ca key"), b"chain", Secret("key"))
RECORD = ("a" * 64, "b" * 64)


def data(text: str) -> str:
    """Return base64."""
    return base64.b64encode(text.encode()).decode()


def test_new_secret_is_read_as_it_was_written() -> None:
    """Certificates, keys and record."""
    secret = changed_secret({}, CERTIFICATES, RECORD)
    assert (certificates_in(secret), record_in(secret)) == (CERTIFICATES, RECORD)


def test_changed_secret_keeps_the_entries_of_others() -> None:
    """Metadata with the resource version, the type, and entries of others."""
    secret: dict[str, Any] = {"metadata": {"resourceVersion": "7"}, "type": "x", "data": {"other": "b3RoZXI="}}
    changed = changed_secret(secret, CERTIFICATES, None)
    assert (changed["metadata"], changed["type"]) == (secret["metadata"], "x")
    assert changed["data"]["other"] == "b3RoZXI="
    assert record_in(changed) is None


@pytest.mark.parametrize(
    "secret",
    [{}, {"data": None}, {"data": []}, {"data": {"ca.crt": 1, "tls.key": "!"}}],
    ids=["no data", "null", "a list", "not base64"],
)
def test_unusable_entries_are_empty(secret: dict[str, Any]) -> None:
    """They are found broken when they are inspected."""
    assert certificates_in(secret) == EMPTY


@pytest.mark.parametrize("text", ["", "x", "A" * 64, f"{'a' * 64}\nx"], ids=["empty", "short", "capitals", "one wrong"])
def test_record_with_anything_but_fingerprints_is_no_record(text: str) -> None:
    """It would let others in, or keep wisp's own out."""
    assert record_in({"data": {"ca.sha256": data(text)}}) is None


@pytest.mark.parametrize(
    "bundles, has, trusts",
    [
        ((b"ca\n",), True, True),
        ((b"ca\n", b"ca\nother"), False, True),
        ((b"ca\n", b""), False, False),
        ((), False, False),
    ],
    ids=["the bundle", "a larger one", "an empty one", "no place"],
)
def test_publication_trusts_a_ca_only_if_all_its_bundles_do(
    bundles: tuple[bytes, ...], *, has: bool, trusts: bool
) -> None:
    """`has_bundle` compares whole bundles, `trusts` looks for the CA in each."""
    published = Published("1", tuple(("name", bundle) for bundle in bundles))
    assert (published.has_bundle(b"ca\n"), published.trusts(b"ca\n")) == (has, trusts)
