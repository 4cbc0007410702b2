"""Reads the API server's lists and watch events, of which only metadata matters. Knows no connection and no clock.

Kubernetes API concepts, "Efficient detection of changes": https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from typing import TypeAlias

import msgspec

METADATA_LIST = b"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
METADATA = b"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""What to accept: metadata alone, so that a Secret's data never travels in a watch."""


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What an object says of itself."""

    name: str
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Item(msgspec.Struct, frozen=True, gc=False):
    """An object of any kind."""

    metadata: Metadata


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Listing(msgspec.Struct, frozen=True):
    """A page of a list."""

    metadata: _Page
    items: list[Item] | None = None


class Stored(msgspec.Struct, frozen=True):
    """The object is there, new or changed."""

    metadata: Metadata


class Deleted(msgspec.Struct, frozen=True):
    """The object is there no more."""

    metadata: Metadata


class Bookmark(msgspec.Struct, frozen=True):
    """Nothing has changed up to this resource version."""

    resource_version: str


class Expired(msgspec.Struct, frozen=True):
    """The resource version is too old to go on from: list anew."""


class Failed(msgspec.Struct, frozen=True):
    """The watch has ended with an error, or with what is no event."""

    reason: str


Event: TypeAlias = Stored | Deleted | Bookmark | Expired | Failed


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class Status(msgspec.Struct, frozen=True):
    """Why the API server refused."""

    message: str = ""
    reason: str = ""
    code: int = 0


_MESSAGE_LIMIT = 1024
"""Characters of an API server's message that are kept: other webhooks and aggregated servers write them, too."""
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ITEM = msgspec.json.Decoder(Item)
_LISTING = msgspec.json.Decoder(Listing)
_STATUS = msgspec.json.Decoder(Status)


def slim(metadata: Metadata, prefix: str) -> Metadata:
    """Return what is worth keeping: the name, and the labels and annotations that begin with `prefix`."""
    return Metadata(
        metadata.name,
        metadata.namespace,
        annotations=_of(metadata.annotations, prefix),
        labels=_of(metadata.labels, prefix),
    )


def _of(values: dict[str, str] | None, prefix: str) -> dict[str, str] | None:
    return {name: value for name, value in values.items() if name.startswith(prefix)} or None if values else None


def listing_of(body: bytes) -> Listing | Failed:
    """Read one page of a list."""
    try:
        return _LISTING.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Failed(f"no list: {error}")


def item_of(body: bytes) -> Metadata | Failed:
    """Read one object."""
    try:
        return _ITEM.decode(body).metadata
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Failed(f"no object: {error}")


def status_of(code: int, body: bytes) -> Status:
    """Read a refusal; what is none is told by its HTTP status alone."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Status(f"HTTP {code}", code=code)
    return Status(status.message[:_MESSAGE_LIMIT] or f"HTTP {code}", status.reason[:_MESSAGE_LIMIT], code)


def event_of(line: bytes) -> Event:
    """Read one line of a watch."""
    try:
        envelope = _ENVELOPE.decode(line)
        if envelope.type == "ERROR":
            return _error(_STATUS.decode(envelope.object))
        metadata = _ITEM.decode(envelope.object).metadata if envelope.type != "BOOKMARK" else None
        if metadata is None:
            return Bookmark(_BOOKMARKED.decode(envelope.object).metadata.resource_version)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Failed(f"no event: {error}")
    if envelope.type in ("ADDED", "MODIFIED"):
        return Stored(metadata)
    return Deleted(metadata) if envelope.type == "DELETED" else Failed(f"no event: type {envelope.type[:64]!r}")


def _error(status: Status) -> Expired | Failed:
    if status.code == 410:
        return Expired()
    return Failed((status.message or status.reason)[:_MESSAGE_LIMIT] or "an error without a message")


class _Bookmarked(msgspec.Struct, frozen=True):
    metadata: _Page


_BOOKMARKED = msgspec.json.Decoder(_Bookmarked)
