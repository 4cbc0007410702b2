"""The two objects in the cluster that the certificates live in: the Secret, and the webhook's configuration."""

from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from wisp.kubernetes.client import JSON_PATCH, Ask, Reply, UnansweredError
from wisp.kubernetes.types import status_of
from wisp.kubernetes.watch import Kind
from wisp.webhook.certificates.certificate import Kept, Record
from wisp.webhook.certificates.configuration import Configuration, configuration_of, patch
from wisp.webhook.certificates.secretdata import changed_secret, kept_in, new_secret, record_in

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class RefusedError(Exception):
    """The API server does not let us; the text is what it said, and what we had asked."""


class Asker(Protocol):
    """What speaks to the API server."""

    async def ask(self, ask: Ask, patience: float | None = None) -> Reply:
        """Return the answer. Raise UnansweredError."""


class Stored(NamedTuple):
    """The Secret as it was read; `document` is what the next write is made from, None where there is no Secret."""

    kept: Kept | None
    document: dict[str, Any] | None
    record: Record


class Cluster:
    """Read and write the Secret `secret` in `namespace` and the configuration `configuration`.

    All methods raise UnansweredError where the API server does not answer and RefusedError where it does not allow it.
    """

    def __init__(self, api: Asker, *, namespace: str, secret: str, configuration: str) -> None:
        self._api = api
        self._namespace = namespace
        self._secret = secret
        self._configuration = configuration
        secrets = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets"
        self._secrets_path = secrets
        self._secret_path = f"{secrets}/{quote(secret, safe='')}"
        self._configuration_path = f"{CONFIGURATIONS}/{quote(configuration, safe='')}"

    def kinds(self) -> tuple[Kind, Kind]:
        """Return what to watch so as to hear of changes by others."""
        return (
            Kind("secrets", self._secrets_path, f"metadata.name={self._secret}"),
            Kind("mutatingwebhookconfigurations", CONFIGURATIONS, f"metadata.name={self._configuration}"),
        )

    async def stored(self) -> Stored:
        """Read the Secret."""
        reply = await self._api.ask(Ask(self._secret_path))
        if reply.status == 404:
            return Stored(None, None, None)
        document = _document(reply, f"reading the Secret {self._secret!r}")
        return Stored(kept_in(document), document, record_in(document))

    async def store(self, kept: Kept, record: Record, before: Stored) -> bool:
        """Write the Secret if it is still as it was read; say whether it was."""
        if before.document is None:
            document = new_secret(self._secret, self._namespace, kept, record)
            reply = await self._api.ask(Ask(self._secrets_path, b"POST", msgspec.json.encode(document)))
        else:
            document = changed_secret(before.document, kept, record)
            reply = await self._api.ask(Ask(self._secret_path, b"PUT", msgspec.json.encode(document)))
        if reply.status in (404, 409):
            return False
        _document(reply, f"writing the Secret {self._secret!r}")
        return True

    async def configuration(self) -> Configuration | None:
        """Read the webhook's configuration; None where there is none."""
        reply = await self._api.ask(Ask(self._configuration_path))
        if reply.status == 404:
            return None
        what = f"reading the MutatingWebhookConfiguration {self._configuration!r}"
        document = _document(reply, what)
        try:
            return configuration_of(document)
        except (LookupError, TypeError, AttributeError) as error:
            raise UnansweredError(f"{what}: the answer is none ({error!r})") from None

    async def put_bundle(self, bundle: bytes, before: Configuration) -> bool:
        """Put the bundle into the configuration if it is still as it was read; say whether it was."""
        body = msgspec.json.encode(patch(before, bundle))
        reply = await self._api.ask(Ask(self._configuration_path, b"PATCH", body, JSON_PATCH))
        if reply.status in (404, 409, 422):  # 422: the `test` of the version
            return False
        _document(reply, f"patching the MutatingWebhookConfiguration {self._configuration!r}")
        return True


def _document(reply: Reply, what: str) -> dict[str, Any]:
    """Return the object in `reply`; `what` was asked."""
    if reply.status >= 500 or reply.status == 429:
        raise UnansweredError(f"{what}: {status_of(reply.status, reply.body).message}")
    if reply.status >= 300:
        raise RefusedError(f"{what}: {status_of(reply.status, reply.body).message}")
    try:
        document = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        raise UnansweredError(f"{what}: the answer is no object")
    return document
