"""Store the certificates in the cluster: in a Secret, and the CA bundle in the MutatingWebhookConfiguration.

Writes succeed only for the version that was read. Whatever else is in the objects stays there. The Secret's entries are
named as in kubernetes.io/tls and in other certificate controllers: ca.crt, ca.key, tls.crt, tls.key. The entry
`RECORD_ENTRY` is the webhook's own: the fingerprints of the CAs that it accepts, one a line.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from wisp.base.secret import Secret
from wisp.certificates.decision import EMPTY, RECORD_LIMIT, CertificateSet, Record
from wisp.kubernetes.types import (
    JSON_PATCH,
    ApiRequest,
    ApiResponse,
    ApiUnavailableError,
    Requester,
    Resource,
    parse_status,
)

RECORD_ENTRY = "ca.sha256"
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_LABELS = {"app.kubernetes.io/managed-by": "wisp-webhook"}
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class StoreError(Exception):
    """The API server does not permit a request, or an object is missing; the text says which."""


class StoredSecret(NamedTuple):
    """The Secret as it was read: `EMPTY` certificates and no `document` if there is no Secret."""

    certificates: CertificateSet
    document: dict[str, Any] | None
    record: Record


class WebhookConfiguration(NamedTuple):
    """A MutatingWebhookConfiguration: its resource version, and the name and CA bundle (PEM) of each webhook."""

    version: str
    webhooks: tuple[tuple[str, bytes], ...]

    @property
    def bundles(self) -> list[bytes]:
        """The CA bundle of each webhook; empty ones included."""
        return [bundle for _, bundle in self.webhooks]

    def has_bundle(self, bundle: bytes) -> bool:
        """Return whether every webhook has exactly this bundle."""
        return bool(self.webhooks) and all(held == bundle for held in self.bundles)

    def trusts(self, issuer: bytes) -> bool:
        """Return whether every webhook trusts `issuer`, a CA in PEM."""
        return bool(self.webhooks) and all(issuer.strip() in bundle for bundle in self.bundles)


class CertificateStore:
    """Read and write the Secret `secret` in `namespace` and the configuration `configuration`.

    All methods raise ApiUnavailableError if the API server does not answer and StoreError if it does not permit them.
    """

    def __init__(self, api: Requester, *, namespace: str, secret: str, configuration: str) -> None:
        self._api = api
        self._namespace = namespace
        self._secret = secret
        self._configuration = configuration
        self._secrets_path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets"
        self._secret_path = f"{self._secrets_path}/{quote(secret, safe='')}"
        self._configuration_path = f"{_CONFIGURATIONS}/{quote(configuration, safe='')}"

    def resources(self) -> tuple[Resource, Resource]:
        """Return what to watch in order to learn of changes by others."""
        return (
            Resource("secrets", self._secrets_path, f"metadata.name={self._secret}"),
            Resource("mutatingwebhookconfigurations", _CONFIGURATIONS, f"metadata.name={self._configuration}"),
        )

    async def read_secret(self) -> StoredSecret:
        """Read the Secret."""
        response = await self._api.request(ApiRequest(self._secret_path))
        if response.status == 404:
            return StoredSecret(EMPTY, None, None)
        document = _document(response, f"reading the Secret {self._secret!r}")
        return StoredSecret(certificates_in(document), document, record_in(document))

    async def write_secret(self, certificates: CertificateSet, record: Record, before: StoredSecret) -> bool:
        """Write the Secret; return False if it is not as it was read."""
        if before.document is None:
            document = new_secret(self._secret, self._namespace, certificates, record)
            request = ApiRequest(self._secrets_path, b"POST", msgspec.json.encode(document))
        else:
            document = changed_secret(before.document, certificates, record)
            request = ApiRequest(self._secret_path, b"PUT", msgspec.json.encode(document))
        response = await self._api.request(request)
        if response.status in (404, 409):
            return False
        _document(response, f"writing the Secret {self._secret!r}")
        return True

    async def read_configuration(self) -> WebhookConfiguration | None:
        """Read the configuration; return None if it does not exist."""
        response = await self._api.request(ApiRequest(self._configuration_path))
        if response.status == 404:
            return None
        action = f"reading the MutatingWebhookConfiguration {self._configuration!r}"
        document = _document(response, action)
        try:
            return configuration_in(document)
        except (LookupError, TypeError, AttributeError) as error:
            raise ApiUnavailableError(f"{action}: the answer is not a configuration ({error!r})") from None

    async def write_bundle(self, bundle: bytes, before: WebhookConfiguration) -> bool:
        """Give every webhook the bundle; return False if the configuration is not as it was read."""
        body = msgspec.json.encode(bundle_patch(before, bundle))
        response = await self._api.request(ApiRequest(self._configuration_path, b"PATCH", body, JSON_PATCH))
        if response.status in (404, 409, 422):  # 422: the `test` of the version failed
            return False
        _document(response, f"patching the MutatingWebhookConfiguration {self._configuration!r}")
        return True


def _document(response: ApiResponse, action: str) -> dict[str, Any]:
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


def new_secret(name: str, namespace: str, certificates: CertificateSet, record: Record) -> dict[str, Any]:
    """Return a Secret with `certificates` and `record`."""
    metadata = {"name": name, "namespace": namespace, "labels": _LABELS}
    return changed_secret(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}, certificates, record
    )


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


def configuration_in(document: Mapping[str, Any]) -> WebhookConfiguration:
    """Parse a MutatingWebhookConfiguration. Raise LookupError, TypeError or AttributeError."""
    webhooks = document.get("webhooks") or ()
    return WebhookConfiguration(
        document["metadata"]["resourceVersion"],
        tuple((webhook["name"], _decoded(webhook["clientConfig"].get("caBundle"))) for webhook in webhooks),
    )


def bundle_patch(configuration: WebhookConfiguration, bundle: bytes) -> list[dict[str, Any]]:
    """Return the JSON patch (RFC 6902) that gives every webhook `bundle`, and fails for any other version."""
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


def _entry(secret: Mapping[str, Any], name: str) -> bytes:
    data = secret.get("data")
    return _decoded(data.get(name), validate=True) if isinstance(data, dict) else b""


def _decoded(value: object, *, validate: bool = False) -> bytes:
    try:
        return base64.b64decode(value, validate=validate) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
