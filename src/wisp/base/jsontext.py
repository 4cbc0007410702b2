"""JSON whose module is loaded at the first use: the sidecar is ready a millisecond earlier."""

from typing import Any


def to_json(document: object) -> bytes:
    """Return `document` as compact JSON in ASCII."""
    import json  # noqa: PLC0415 -- see above

    return json.dumps(document, separators=(",", ":")).encode()


def from_json(text: bytes) -> Any:
    """Decode JSON. Raise ValueError if `text` is not JSON."""
    import json  # noqa: PLC0415 -- see above

    return json.loads(text)
