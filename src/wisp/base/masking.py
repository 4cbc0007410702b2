"""Strikes JSON Web Tokens out of texts that are logged or passed on. Pure, and linear in the length of the text.

What is struck out is what can be a whole token in compact serialization: a JWS of three parts (RFC 7515 §7.1; of an
unsigned one the last is empty) or a JWE of five (RFC 7516 §7.1), the first of which is base64url of a JSON object with
`alg`. Words that merely look alike stay as they are.
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
"""What makes an escape of the first character of a token, such as `%2` before `eyJhbGci...`."""
_CUT_ESCAPE = re.compile(r"(?:%(?:25)*[25]?)?\Z")
_OBJECT = re.compile(rb'\{\s*"')
_JWS_PARTS, _JWE_PARTS = 3, 5
_SHORTEST_HEADER = 12
"""Characters of a header that has nothing but a one-digit `alg`."""
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def masked(text: str, *, cut: bool = False) -> str:
    """Return `text` with every token struck out; `cut` says that it may end in the middle of one."""

    def replacement(run: re.Match[str]) -> str:
        return _masked_run(run[0], cut=cut and _CUT_ESCAPE.match(text, run.end()) is not None)

    return _RUN.sub(replacement, text)


def _masked_run(run: str, *, cut: bool) -> str:
    if "%" not in run:
        return _struck_out(run, _spans(run, cut=cut))
    readings = (_unescaped(run), _unescaped(_BEFORE_HEADER.sub(".", run)))
    return MASK if any(_spans(reading, cut=cut) for reading in readings) else run


def _unescaped(run: str) -> str:
    for escape, character in _ESCAPES:
        run = escape.sub(character, run)
    return run


def _struck_out(run: str, spans: list[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for start, end in spans:
        if start >= position:
            pieces += [run[position:start], MASK]
        position = max(position, end)
    return "".join((*pieces, run[position:]))


def _spans(run: str, *, cut: bool) -> list[tuple[int, int]]:
    """Return where tokens begin and end in `run`, in the order of their beginnings; they may overlap."""
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
    """Return where a token's header begins in `part`, which ends with it.

    Something else may stand directly before it, such as the `22` of a percent-encoded quotation mark, so each of the
    four ways to group the characters is decoded. Of a header that is cut off `alg` may be missing.
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
    """Return the bytes of base64url, padded or not; a character too many is left out."""
    text = text.rstrip("=")
    whole = text[: len(text) - (len(text) % 4 == 1)].translate(_STANDARD_ALPHABET)
    return a2b_base64(whole + "=" * (-len(whole) % 4))
