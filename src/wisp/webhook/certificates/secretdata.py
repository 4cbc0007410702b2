"""Reads the certificates' Secret and writes its next state. Knows no API server; what is not ours in it stays.

The keys are those of kubernetes.io/tls and of the certificate controllers before us: ca.crt, ca.key, tls.crt, tls.key.
`RECORD` is the webhook's own: the fingerprints of the authorities that it accepts, one a line.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from wisp.base.secret import Secret
from wisp.webhook.certificates.certificate import RECORD_LIMIT, Kept, Record

RECORD = "ca.sha256"
_FINGERPRINT = re.compile("[0-9a-f]{64}")
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


def record_in(secret: Mapping[str, Any]) -> Record:
    """Return the record of a Secret; None where it has none, or one that holds anything but fingerprints."""
    data = secret.get("data")
    lines = _decoded(data.get(RECORD)).decode("latin-1").split() if isinstance(data, dict) else []
    return tuple(lines[:RECORD_LIMIT]) if lines and all(_FINGERPRINT.fullmatch(each) for each in lines) else None


def new_secret(name: str, namespace: str, kept: Kept, record: Record) -> dict[str, Any]:
    """Return a Secret that holds `kept` and `record`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "type": "Opaque",
        "data": _data(kept, record),
    }


def changed_secret(secret: Mapping[str, Any], kept: Kept, record: Record) -> dict[str, Any]:
    """Return `secret` with `kept` and `record` in it, for a write that holds only for the version that was read."""
    data = secret.get("data")
    return {**secret, "data": {**(data if isinstance(data, dict) else {}), **_data(kept, record)}}


def _data(kept: Kept, record: Record) -> dict[str, str]:
    values = {
        "ca.crt": kept.bundle,
        "ca.key": kept.authority_key.reveal().encode("latin-1"),
        "tls.crt": kept.chain,
        "tls.key": kept.key.reveal().encode("latin-1"),
        RECORD: "".join(f"{each}\n" for each in record or ()).encode("ascii"),
    }
    return {name: base64.b64encode(value).decode("ascii") for name, value in values.items()}


def _decoded(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
