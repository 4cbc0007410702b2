"""Publish the CA bundle where API servers read it: in every webhook of a MutatingWebhookConfiguration."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from wisp.certificates.store import Published, decoded, document_in
from wisp.kubernetes.types import JSON_PATCH, ApiRequest, ApiUnavailableError, Requester, Resource

_ALL_PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class WebhookConfiguration:
    """Read and write the CA bundles of the MutatingWebhookConfiguration `name`.

    Writes succeed only for the version that was read. Whatever else is in the object stays there. The methods raise
    ApiUnavailableError if the API server does not answer and StoreError if it does not permit them.
    """

    place = "the MutatingWebhookConfiguration"

    def __init__(self, api: Requester, name: str) -> None:
        self._api = api
        self._name = name
        self._path = f"{_ALL_PATH}/{quote(name, safe='')}"

    @property
    def resource(self) -> Resource:
        """What to watch in order to learn of changes by others."""
        return Resource("mutatingwebhookconfigurations", _ALL_PATH, f"metadata.name={self._name}")

    async def read(self) -> Published | None:
        """Read the configuration; return None if it does not exist."""
        response = await self._api.request(ApiRequest(self._path))
        if response.status == 404:
            return None
        action = f"reading the MutatingWebhookConfiguration {self._name!r}"
        document = document_in(response, action)
        try:
            return bundles_in(document)
        except (LookupError, TypeError, AttributeError) as error:
            raise ApiUnavailableError(f"{action}: the answer is not a configuration ({error!r})") from None

    async def write(self, bundle: bytes, before: Published) -> bool:
        """Give every webhook the bundle; return False if the configuration is not as it was read."""
        body = msgspec.json.encode(bundle_patch(before, bundle))
        response = await self._api.request(ApiRequest(self._path, b"PATCH", body, JSON_PATCH))
        if response.status in (404, 409, 422):  # 422: the `test` of the version failed
            return False
        document_in(response, f"patching the MutatingWebhookConfiguration {self._name!r}")
        return True


def bundles_in(document: Mapping[str, Any]) -> Published:
    """Parse a MutatingWebhookConfiguration. Raise LookupError, TypeError or AttributeError."""
    webhooks = document.get("webhooks") or ()
    return Published(
        document["metadata"]["resourceVersion"],
        tuple((webhook["name"], decoded(webhook["clientConfig"].get("caBundle"))) for webhook in webhooks),
    )


def bundle_patch(published: Published, bundle: bytes) -> list[dict[str, Any]]:
    """Return the JSON patch (RFC 6902) that gives every webhook `bundle`, and fails for any other version."""
    value = base64.b64encode(bundle).decode("ascii")
    operations: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/resourceVersion", "value": published.version}]
    for index, (name, held) in enumerate(published.bundles):
        if held != bundle:
            operations += [
                {"op": "test", "path": f"/webhooks/{index}/name", "value": name},
                {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value},
            ]
    return operations
