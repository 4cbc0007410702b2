"""An oracle: every path that some server could read in a target. It is independent of the sidecar's decisions."""

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

_MOST = 400


def readings(target: bytes) -> set[str]:
    """Return the path of `target` in every spelling that decoding, folding and resolving give in any order."""
    found = {target.decode("latin-1")}
    fresh = set(found)
    while fresh and len(found) < _MOST:
        fresh = {read(path) for path in fresh for read in _READERS} - found
        found |= fresh
    return found


def is_identity(path: str) -> bool:
    """Return whether a path is that of the node's identity, or below it."""
    return re.match(r"/metadata/identity(/|$)", path) is not None


def _unquoted(path: str) -> str:
    return unquote_to_bytes(path.encode("latin-1", "replace")).decode("latin-1")


def _unquoted_utf16(path: str) -> str:
    """Decode `%u0069`, as IIS does."""
    return re.sub("%u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), path)


def _overlong(path: str) -> str:
    """Decode UTF-8 leniently, with overlong encodings of characters."""

    def character(match: re.Match[str]) -> str:
        first, *rest = match[0].encode("latin-1")
        code = first & (0x7F >> len(match[0]))
        for byte in rest:
            code = code << 6 | byte & 0x3F
        return chr(code) if code < 0x110000 else match[0]

    two, three, four = "[\xc0-\xdf][\x80-\xbf]", "[\xe0-\xef][\x80-\xbf]{2}", "[\xf0-\xf7][\x80-\xbf]{3}"
    return re.sub(f"{two}|{three}|{four}", character, path)


def _compatible(path: str) -> str:
    """Fold fullwidth letters, ligatures and similar characters."""
    return unicodedata.normalize("NFKC", path)


def _without_parameters(path: str) -> str:
    return re.sub(";[^/]*", "", path)


def _resolved(path: str) -> str:
    """Remove dot segments (RFC 3986 §5.2.4), and dots and blanks at the end of a segment, as Windows does."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[max(1, len(segments) - 1) :]
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments)


_READERS: tuple[Callable[[str], str], ...] = (
    _unquoted,
    _unquoted_utf16,
    _overlong,
    _compatible,
    _without_parameters,
    _resolved,
    lambda path: path.replace("\\", "/"),
    lambda path: re.sub("/+", "/", path),
    lambda path: re.sub(r"[. ]+(?=/|$)", "", path),
    lambda path: path.casefold(),
    lambda path: re.sub("^[a-zA-Z]+://[^/?#]*", "", path),
    lambda path: re.split("[?#\0]", path)[0],
    lambda path: "".join(character for character in path if character > " "),
    lambda path: path.replace("\u0131", "i"),
)
