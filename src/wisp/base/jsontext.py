"""JSON by CPython's `_json`, without the public module around it, which costs every pod 0.1 MB and a millisecond.

Its two functions have had these arguments since Python 3.4 (Lib/json/encoder.py, Lib/json/scanner.py).
"""

from _json import encode_basestring_ascii, make_encoder, make_scanner
from types import SimpleNamespace
from typing import Any


def _refuse(document: object) -> object:
    raise TypeError(f"{type(document).__name__} cannot be written as JSON")


_encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)  # noqa: FBT003 -- positional only
_scan = make_scanner(
    SimpleNamespace(  # type: ignore[arg-type]  # json.JSONDecoder's defaults; any object with these attributes will do
        strict=True, object_hook=None, object_pairs_hook=None, parse_float=float, parse_int=int, parse_constant=float
    )
)


def to_json(document: object) -> bytes:
    """Return `document` as compact JSON in ASCII."""
    return "".join(_encode(document, 0)).encode()


def from_json(data: bytes) -> Any:
    """Parse JSON without white space around it. Raise ValueError if `data` is anything else."""
    text = data.decode()
    try:
        document, end = _scan(text, 0)
    except StopIteration:
        document, end = None, -1
    if end != len(text):
        raise ValueError("not a JSON document")
    return document
