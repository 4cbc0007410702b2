"""Reads the certificates' Secret and writes its next state. Knows no API server; what is not ours in it stays.

The keys are those of kubernetes.io/tls and of the certificate controllers before us: ca.crt, ca.key, tls.crt, tls.key.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from wisp.secret import Secret
from wisp.webhook.certificate import Kept

LABELS = {"app.kubernetes.io/managed-by": "wisp-webhook"}


def kept_in(secret: Mapping[str, Any]) -> Kept:
    """Return what a Secret holds; what is missing or no base64 is empty, and found broken when it is examined."""
    data = secret.get("data")
    found = data if isinstance(data, dict) else {}
    return Kept(
        _decoded(found.get("ca.crt")),
        Secret(_decoded(found.get("ca.key")).decode("latin-1")),
        _decoded(found.get("tls.crt")),
        Secret(_decoded(found.get("tls.key")).decode("latin-1")),
    )


def new_secret(name: str, namespace: str, kept: Kept) -> dict[str, Any]:
    """Return a Secret that holds `kept`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "type": "Opaque",
        "data": _data(kept),
    }


def changed_secret(secret: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    """Return `secret` with `kept` in it; its resource version says to the API server what it was made from."""
    data = secret.get("data")
    return {**secret, "data": {**(data if isinstance(data, dict) else {}), **_data(kept)}}


def _data(kept: Kept) -> dict[str, str]:
    values = {
        "ca.crt": kept.bundle,
        "ca.key": kept.authority_key.reveal().encode("latin-1"),
        "tls.crt": kept.chain,
        "tls.key": kept.key.reveal().encode("latin-1"),
    }
    return {name: base64.b64encode(value).decode("ascii") for name, value in values.items()}


def _decoded(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
