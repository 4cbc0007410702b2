"""Reads a MutatingWebhookConfiguration and writes the patch that puts the CA bundle in. Knows no API server.

The patch (RFC 6902) names each webhook's caBundle and nothing else, and holds only for the version it was made from.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple


class Configuration(NamedTuple):
    """What matters of a configuration: its version, and each webhook's name and bundle (PEM, or empty)."""

    version: str
    webhooks: tuple[tuple[str, bytes], ...]

    def holds(self, bundle: bytes) -> bool:
        """Tell whether every webhook has exactly this bundle."""
        return bool(self.webhooks) and all(each == bundle for _, each in self.webhooks)

    def trusts(self, issuer: bytes) -> bool:
        """Tell whether every webhook trusts `issuer`, an authority in PEM."""
        return bool(self.webhooks) and all(issuer.strip() in each for _, each in self.webhooks)


def configuration_of(document: Mapping[str, Any]) -> Configuration:
    """Read a configuration. Raise LookupError, TypeError or AttributeError where it is none."""
    return Configuration(
        document["metadata"]["resourceVersion"],
        tuple((each["name"], _bundle(each["clientConfig"].get("caBundle"))) for each in document.get("webhooks") or ()),
    )


def patch(configuration: Configuration, bundle: bytes) -> list[dict[str, Any]]:
    """Return the operations that give every webhook `bundle`; where somebody else was quicker they change nothing."""
    value = base64.b64encode(bundle).decode("ascii")
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": configuration.version}
    ]
    for place, (name, held) in enumerate(configuration.webhooks):
        if held != bundle:
            operations += [
                {"op": "test", "path": f"/webhooks/{place}/name", "value": name},
                {"op": "add", "path": f"/webhooks/{place}/clientConfig/caBundle", "value": value},
            ]
    return operations


def _bundle(value: object) -> bytes:
    try:
        return base64.b64decode(value) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
