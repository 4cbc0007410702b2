"""Store the certificates in a Secret, and publish the CA bundle elsewhere if clients do not read it from the Secret.

Writes succeed only for the version that was read. Whatever else is in the Secret stays there. Its entries are named as
in kubernetes.io/tls and in other certificate controllers: ca.crt, ca.key, tls.crt, tls.key. The entry `RECORD_ENTRY` is
wisp's own: the fingerprints of the CAs that are accepted, one a line.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from wisp.base.secret import Secret
from wisp.certificates.decision import EMPTY, RECORD_LIMIT, CertificateSet, Record
from wisp.kubernetes.types import (
    ApiRequest,
    ApiResponse,
    ApiUnavailableError,
    Requester,
    Resource,
    parse_status,
)

_MANAGED_BY = "app.kubernetes.io/managed-by"
RECORD_ENTRY = "ca.sha256"
_FINGERPRINT = re.compile("[0-9a-f]{64}")


class StoreError(Exception):
    """The API server does not permit a request, or an object is missing; the text says which."""


class StoredSecret(NamedTuple):
    """The Secret as it was read: `EMPTY` certificates and no `document` if there is no Secret."""

    certificates: CertificateSet
    document: dict[str, Any] | None
    record: Record


class Published(NamedTuple):
    """An object with CA bundles as it was read: its resource version, and the bundles (PEM) by name."""

    version: str
    bundles: tuple[tuple[str, bytes], ...]

    def has_bundle(self, bundle: bytes) -> bool:
        """Return whether all bundles are exactly this one."""
        return bool(self.bundles) and all(held == bundle for _, held in self.bundles)

    def trusts(self, issuer: bytes) -> bool:
        """Return whether all bundles contain `issuer`, a CA in PEM."""
        return bool(self.bundles) and all(issuer.strip() in held for _, held in self.bundles)


class Publication(Protocol):
    """An object from which clients get the CA bundle; see `wisp.webhook.publication`."""

    place: str
    """What is published in, for messages: "the MutatingWebhookConfiguration"."""

    async def read(self) -> Published | None:
        """Read the object; return None if it does not exist."""

    async def write(self, bundle: bytes, before: Published) -> bool:
        """Replace all bundles; return False if the object is not as it was read."""


class CertificateSecret:
    """Read and write the Secret `name` in `namespace`. A new one gets the label managed-by with `managed_by`.

    All methods raise ApiUnavailableError if the API server does not answer and StoreError if it does not permit them.
    """

    def __init__(self, api: Requester, *, namespace: str, name: str, managed_by: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._managed_by = managed_by
        self._all_path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets"
        self._path = f"{self._all_path}/{quote(name, safe='')}"

    @property
    def resource(self) -> Resource:
        """What to watch in order to learn of changes by others."""
        return Resource("secrets", self._all_path, f"metadata.name={self._name}")

    async def read(self) -> StoredSecret:
        """Read the Secret."""
        response = await self._api.request(ApiRequest(self._path))
        if response.status == 404:
            return StoredSecret(EMPTY, None, None)
        document = document_in(response, f"reading the Secret {self._name!r}")
        return StoredSecret(certificates_in(document), document, record_in(document))

    async def write(self, certificates: CertificateSet, record: Record, before: StoredSecret) -> bool:
        """Write the Secret; return False if it is not as it was read."""
        if before.document is None:
            metadata = {"name": self._name, "namespace": self._namespace, "labels": {_MANAGED_BY: self._managed_by}}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
            document = changed_secret(secret, certificates, record)
            request = ApiRequest(self._all_path, b"POST", msgspec.json.encode(document))
        else:
            document = changed_secret(before.document, certificates, record)
            request = ApiRequest(self._path, b"PUT", msgspec.json.encode(document))
        response = await self._api.request(request)
        if response.status in (404, 409):
            return False
        document_in(response, f"writing the Secret {self._name!r}")
        return True


def document_in(response: ApiResponse, action: str) -> dict[str, Any]:
    """Return the object in a response; `action` is for error messages."""
    if response.status >= 300:
        message = f"{action}: {parse_status(response.status, response.body).message}"
        raise ApiUnavailableError(message) if response.status >= 500 or response.status == 429 else StoreError(message)
    try:
        document = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        raise ApiUnavailableError(f"{action}: the answer is not an object")
    return document


def certificates_in(secret: Mapping[str, Any]) -> CertificateSet:
    """Return the certificates and keys of a Secret. Entries that are missing or not base64 are empty."""
    bundle, ca_key, chain, key = (_entry(secret, name) for name in ("ca.crt", "ca.key", "tls.crt", "tls.key"))
    return CertificateSet(bundle, Secret(ca_key.decode("latin-1")), chain, Secret(key.decode("latin-1")))


def record_in(secret: Mapping[str, Any]) -> Record:
    """Return the record of a Secret; None if it has none or one with anything but fingerprints."""
    lines = _entry(secret, RECORD_ENTRY).decode("latin-1").split()
    return tuple(lines[:RECORD_LIMIT]) if lines and all(map(_FINGERPRINT.fullmatch, lines)) else None


def changed_secret(secret: Mapping[str, Any], certificates: CertificateSet, record: Record) -> dict[str, Any]:
    """Return `secret` with other certificates and another record; its resource version stays."""
    data = secret.get("data")
    entries = {
        "ca.crt": certificates.bundle,
        "ca.key": certificates.ca_key.reveal().encode("latin-1"),
        "tls.crt": certificates.chain,
        "tls.key": certificates.key.reveal().encode("latin-1"),
        RECORD_ENTRY: "".join(f"{fingerprint}\n" for fingerprint in record or ()).encode("ascii"),
    }
    encoded = {name: base64.b64encode(value).decode("ascii") for name, value in entries.items()}
    return {**secret, "data": {**(data if isinstance(data, dict) else {}), **encoded}}


def _entry(secret: Mapping[str, Any], name: str) -> bytes:
    data = secret.get("data")
    return decoded(data.get(name), validate=True) if isinstance(data, dict) else b""


def decoded(value: object, *, validate: bool = False) -> bytes:
    """Return the bytes of a base64 string; none if it is not one."""
    try:
        return base64.b64decode(value, validate=validate) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
