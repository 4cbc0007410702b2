"""Every path that some server could take a target for: an oracle that knows nothing of how the sidecar decides."""

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

_MOST = 400


def readings(target: bytes) -> set[str]:
    """Return `target`'s path in all the spellings that come of decoding, folding and resolving it, in any order."""
    found = {target.decode("latin-1")}
    fresh = set(found)
    while fresh and len(found) < _MOST:
        fresh = {read(path) for path in fresh for read in _READERS} - found
        found |= fresh
    return found


def is_identity(path: str) -> bool:
    """Say whether a path in its last spelling is the node's identity, or what is below it."""
    return re.match(r"/metadata/identity(/|$)", path) is not None


def _unquoted(path: str) -> str:
    return unquote_to_bytes(path.encode("latin-1", "replace")).decode("latin-1")


def _unquoted_utf16(path: str) -> str:
    """Decode `%u0069`, as IIS does."""
    return re.sub("%u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), path)


def _overlong(path: str) -> str:
    """Decode UTF-8 as one that does not mind how many bytes a character takes."""

    def character(match: re.Match[str]) -> str:
        first, *rest = match[0].encode("latin-1")
        code = first & (0x7F >> len(match[0]))
        for byte in rest:
            code = code << 6 | byte & 0x3F
        return chr(code) if code < 0x110000 else match[0]

    two, three, four = "[\xc0-\xdf][\x80-\xbf]", "[\xe0-\xef][\x80-\xbf]{2}", "[\xf0-\xf7][\x80-\xbf]{3}"
    return re.sub(f"{two}|{three}|{four}", character, path)


def _compatible(path: str) -> str:
    """Fold fullwidth letters, ligatures and their like."""
    return unicodedata.normalize("NFKC", path)


def _without_parameters(path: str) -> str:
    return re.sub(";[^/]*", "", path)


def _resolved(path: str) -> str:
    """Remove dot segments (RFC 3986 §5.2.4), and dots and blanks at the end of a segment, as Windows does."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[max(1, len(kept) - 1) :]
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)


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
