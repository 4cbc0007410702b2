"""The Secret and the configuration as documents: what is read from them, and what is written."""

import base64
from typing import Any

import pytest

from wisp.base.secret import Secret
from wisp.certificates.decision import EMPTY, CertificateSet
from wisp.certificates.store import (
    WebhookConfiguration,
    bundle_patch,
    certificates_in,
    changed_secret,
    configuration_in,
    new_secret,
    record_in,
)

CERTIFICATES = CertificateSet(b"ca", Secret("ca key"), b"chain", Secret("key"))
RECORD = ("a" * 64, "b" * 64)


def data(text: str) -> str:
    """Return base64."""
    return base64.b64encode(text.encode()).decode()


def test_new_secret_is_read_as_it_was_written() -> None:
    """Certificates, keys and record."""
    secret = new_secret("name", "namespace", CERTIFICATES, RECORD)
    assert (certificates_in(secret), record_in(secret)) == (CERTIFICATES, RECORD)


def test_changed_secret_keeps_what_is_not_the_webhooks() -> None:
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
    """It would let others in, or keep the webhook's own out."""
    assert record_in({"data": {"ca.sha256": data(text)}}) is None


def test_patch_changes_only_bundles_that_differ() -> None:
    """It fails for any other version of the configuration, and for webhooks in another order."""
    document = {
        "metadata": {"resourceVersion": "5"},
        "webhooks": [
            {"name": "a", "clientConfig": {"caBundle": data("new")}},
            {"name": "b", "clientConfig": {"caBundle": data("old")}},
            {"name": "c", "clientConfig": {}},
        ],
    }
    configuration = configuration_in(document)
    assert configuration == WebhookConfiguration("5", (("a", b"new"), ("b", b"old"), ("c", b"")))
    assert bundle_patch(configuration, b"new") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "5"},
        {"op": "test", "path": "/webhooks/1/name", "value": "b"},
        {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": data("new")},
        {"op": "test", "path": "/webhooks/2/name", "value": "c"},
        {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": data("new")},
    ]


@pytest.mark.parametrize(
    "bundles, has, trusts",
    [
        ((b"ca\n",), True, True),
        ((b"ca\n", b"ca\nother"), False, True),
        ((b"ca\n", b""), False, False),
        ((), False, False),
    ],
    ids=["the bundle", "a larger one", "an empty one", "no webhook"],
)
def test_configuration_trusts_a_ca_only_if_all_webhooks_do(
    bundles: tuple[bytes, ...], *, has: bool, trusts: bool
) -> None:
    """`has_bundle` compares whole bundles, `trusts` looks for the CA in each."""
    configuration = WebhookConfiguration("1", tuple(("name", bundle) for bundle in bundles))
    assert (configuration.has_bundle(b"ca\n"), configuration.trusts(b"ca\n")) == (has, trusts)
