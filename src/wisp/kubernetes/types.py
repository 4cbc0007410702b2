"""Requests to the Kubernetes API, and what is read from its answers: objects' metadata, lists and watch events.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ ("Efficient detection of changes")
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

JSON = b"application/json"
JSON_PATCH = b"application/json-patch+json"
METADATA_LIST = b"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
METADATA = b"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""What to accept: metadata alone, so that a Secret's data never travels in a watch."""

_MESSAGE_LIMIT = 1024
"""Characters of an API server's message that are kept: other webhooks and aggregated servers write them, too."""


class ApiUnavailableError(Exception):
    """The API server cannot be reached, is not trusted, or does not answer with HTTP; the text says which."""


class ApiRequest(NamedTuple):
    """A request. `path` includes the query; `accept` is one media type or several.

    `repeatable`: whether it may be sent again if the connection breaks, because it changes nothing. GET always is.
    """

    path: str
    method: bytes = b"GET"
    body: bytes = b""
    content_type: bytes = JSON
    accept: bytes = JSON
    repeatable: bool = False


class ApiResponse(NamedTuple):
    """What the API server answered."""

    status: int
    body: bytes


class Requester(Protocol):
    """What sends requests to the API server: `wisp.kubernetes.client.ApiClient`."""

    async def request(self, request: ApiRequest, time_limit: float | None = None) -> ApiResponse:
        """Return the answer. Raise ApiUnavailableError, after `time_limit` seconds at the latest."""


class Resource(NamedTuple):
    """Objects to watch: a name for logs and metrics, the path of their list, and a field selector."""

    name: str
    path: str
    field_selector: str = ""


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The part of an object's metadata that is decoded."""

    name: str
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None

    def reduced(self, prefix: str) -> "Metadata":
        """Return the name, and only the labels and annotations that begin with `prefix`, to save memory."""
        return Metadata(
            self.name,
            self.namespace,
            annotations=_with_prefix(self.annotations, prefix),
            labels=_with_prefix(self.labels, prefix),
        )


def _with_prefix(values: dict[str, str] | None, prefix: str) -> dict[str, str] | None:
    return {name: value for name, value in values.items() if name.startswith(prefix)} or None if values else None


class WatchedObjects(Protocol):
    """A copy of the API server's objects that a watch keeps up to date."""

    def reduced(self, metadata: Metadata) -> Metadata:
        """Return what of an object to keep in memory until the whole list is there."""

    def replace(self, objects: Iterable[Metadata]) -> None:
        """Take a whole list: all objects there are."""

    def put(self, metadata: Metadata) -> None:
        """Add or replace one object."""

    def delete(self, metadata: Metadata) -> None:
        """Remove one object."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """An object of any kind."""

    metadata: Metadata


class _ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class ListPage(msgspec.Struct, frozen=True):
    """A page of a list."""

    metadata: _ListMetadata
    items: list[Item] | None = None


class Status(msgspec.Struct, frozen=True):
    """Why the API server rejected a request."""

    message: str = ""
    reason: str = ""
    code: int = 0


class Changed(msgspec.Struct, frozen=True):
    """An object was added or modified."""

    metadata: Metadata


class Deleted(msgspec.Struct, frozen=True):
    """An object was deleted."""

    metadata: Metadata


class Bookmark(msgspec.Struct, frozen=True):
    """Nothing has changed up to this resource version."""

    resource_version: str


class Expired(msgspec.Struct, frozen=True):
    """The watch cannot continue from its resource version; the objects must be listed again."""


class Failed(msgspec.Struct, frozen=True):
    """The watch ended with an error, or what was read is not what was asked for."""

    reason: str


Event: TypeAlias = Changed | Deleted | Bookmark | Expired | Failed


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Bookmarked(msgspec.Struct, frozen=True):
    metadata: _ListMetadata


_UNREADABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's and Unicode's errors are ValueErrors, and a document may be nested too deeply."""
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_bookmark = msgspec.json.Decoder(_Bookmarked).decode
_decode_item = msgspec.json.Decoder(Item).decode
_decode_page = msgspec.json.Decoder(ListPage).decode
_decode_status = msgspec.json.Decoder(Status).decode


def parse_page(body: bytes) -> ListPage | Failed:
    """Parse one page of a list."""
    try:
        return _decode_page(body)
    except _UNREADABLE as error:
        return Failed(f"not a list: {error}")


def parse_object(body: bytes) -> Metadata | Failed:
    """Parse one object."""
    try:
        return _decode_item(body).metadata
    except _UNREADABLE as error:
        return Failed(f"not an object: {error}")


def parse_status(code: int, body: bytes) -> Status:
    """Parse the body of an error response; the message of any other body is its HTTP status."""
    try:
        status = _decode_status(body)
    except _UNREADABLE:
        return Status(f"HTTP {code}", code=code)
    return Status(status.message[:_MESSAGE_LIMIT] or f"HTTP {code}", status.reason[:_MESSAGE_LIMIT], code)


def parse_event(line: bytes) -> Event:
    """Parse one line of a watch."""
    try:
        envelope = _decode_envelope(line)
        match envelope.type:
            case "ADDED" | "MODIFIED":
                return Changed(_decode_item(envelope.object).metadata)
            case "DELETED":
                return Deleted(_decode_item(envelope.object).metadata)
            case "BOOKMARK":
                return Bookmark(_decode_bookmark(envelope.object).metadata.resource_version)
            case "ERROR":
                status = _decode_status(envelope.object)
                message = (status.message or status.reason)[:_MESSAGE_LIMIT]
                return Expired() if status.code == 410 else Failed(message or "an error without a message")
    except _UNREADABLE as error:
        return Failed(f"not an event: {error}")
    return Failed(f"not an event: type {envelope.type[:64]!r}")
