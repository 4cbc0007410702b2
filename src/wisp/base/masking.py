"""Mask JSON Web Tokens in texts that are logged or forwarded. Pure, and linear in the length of the text.

A token is a JWS of three parts (RFC 7515 §7.1; the last one is empty if it is unsigned) or a JWE of five parts (RFC
7516 §7.1) in compact serialization, whose first part is base64url of a JSON object with `alg`. Other words that look
similar are not changed.
"""

import re
from binascii import a2b_base64
from itertools import accumulate

MASK = "***"

_RUN = re.compile(r"(?:[A-Za-z0-9_.-]+|%(?:25)*(?:2[DEde]|5[Ff])|={1,2}(?=[.%]))+")
"""Characters that a token consists of; `-`, `.` and `_` may be percent-encoded, repeatedly, and parts padded."""
_ESCAPES = (
    (re.compile("%(?:25)*2[Dd]"), "-"),
    (re.compile("%(?:25)*2[Ee]"), "."),
    (re.compile("%(?:25)*5[Ff]"), "_"),
)
_BEFORE_HEADER = re.compile("%(?:25)*2(?=e[wy])")
"""What turns the first character of a token into an escape, such as `%2` before `eyJhbGci...`."""
_CUT_ESCAPE = re.compile(r"(?:%(?:25)*[25]?)?\Z")
_OBJECT = re.compile(rb'\{\s*"')
_JWS_PARTS, _JWE_PARTS = 3, 5
_SHORTEST_HEADER = 12
"""Length of a header with only a one-digit `alg`."""
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def masked(text: str, *, cut: bool = False) -> str:
    """Return `text` with every token masked. With `cut`, the text may end in the middle of a token."""

    def replacement(run: re.Match[str]) -> str:
        return _masked_run(run[0], cut=cut and _CUT_ESCAPE.match(text, run.end()) is not None)

    return _RUN.sub(replacement, text)


def _masked_run(run: str, *, cut: bool) -> str:
    if "%" not in run:
        return _masked_spans(run, _spans(run, cut=cut))
    readings = (_unescaped(run), _unescaped(_BEFORE_HEADER.sub(".", run)))
    return MASK if any(_spans(reading, cut=cut) for reading in readings) else run


def _unescaped(run: str) -> str:
    for escape, character in _ESCAPES:
        run = escape.sub(character, run)
    return run


def _masked_spans(run: str, spans: list[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for start, end in spans:
        if start >= position:
            pieces += [run[position:start], MASK]
        position = max(position, end)
    return "".join((*pieces, run[position:]))


def _spans(run: str, *, cut: bool) -> list[tuple[int, int]]:
    """Return the start and end of each token in `run`, ordered by start. They may overlap."""
    parts = run.split(".")
    if len(parts) < _JWS_PARTS and not cut:
        return []
    ends = list(accumulate((len(part) + 1 for part in parts), initial=-1))[1:]
    last = len(parts) - 1
    spans = []
    for index in range(len(parts) if cut else len(parts) - _JWS_PARTS + 1):
        header = _header_in(parts[index], cut=cut and index == last)
        if header is not None:
            whole = _JWE_PARTS if cut or index + _JWE_PARTS <= len(parts) else _JWS_PARTS
            spans.append((ends[index] - len(parts[index]) + header, ends[min(index + whole - 1, last)]))
    return spans


def _header_in(part: str, *, cut: bool) -> int | None:
    """Return where the token header at the end of `part` begins.

    Other characters may come directly before it, such as the `22` of a percent-encoded quotation mark, so all four
    ways to group the characters are decoded. A header that is cut off may lack `alg`.
    """
    if len(part) < _SHORTEST_HEADER and not cut:
        return None
    found = []
    for alignment in range(4):
        decoded = _decoded(part[alignment:])
        match = _OBJECT.search(decoded)
        if match is None:
            continue
        header = decoded[match.start() :]
        if cut or b'"alg"' in header or b"\\u" in header:  # a name may be written with escapes
            found.append(alignment + match.start() // 3 * 4)
    return min(found, default=None)


def _decoded(text: str) -> bytes:
    """Decode base64url, padded or not. An excess character at the end is ignored."""
    text = text.rstrip("=")
    whole = text[: len(text) - (len(text) % 4 == 1)].translate(_STANDARD_ALPHABET)
    return a2b_base64(whole + "=" * (-len(whole) % 4))
