"""JSON, loaded when it is first needed: the sidecar is ready a millisecond sooner for it."""

from typing import Any


def to_json(document: object) -> bytes:
    """Return `document` as compact JSON in ASCII."""
    import json  # noqa: PLC0415 -- see above

    return json.dumps(document, separators=(",", ":")).encode()


def from_json(text: bytes) -> Any:
    """Return what `text` says. Raise ValueError where it is no JSON."""
    import json  # noqa: PLC0415 -- see above

    return json.loads(text)
