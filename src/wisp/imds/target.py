"""Takes a request target apart (RFC 9112 §3.2): path and query parameters. Decides by the bytes alone."""

from typing import NamedTuple


class Target(NamedTuple):
    """A target in parts: the path as sent, and the query's names and values, decoded, in their order."""

    path: str
    parameters: tuple[tuple[str, str], ...]


def parse_target(target: bytes) -> Target | None:
    """Return the parts of an origin-form or absolute-form target; None for any other, or where it is not UTF-8."""
    split = split_target(target)
    if split is None:
        return None
    path, query = split
    try:
        return Target(path.decode("ascii") or "/", parse_form(query))
    except UnicodeDecodeError:
        return None


def split_target(target: bytes) -> tuple[bytes, bytes] | None:
    """Return the path and the query of an origin-form or absolute-form target, as sent; None for any other."""
    authority = authority_of(target)
    if authority is not None:
        target = target.partition(b"://")[2][len(authority) :]
    elif not target.startswith(b"/"):
        return None
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return path, query


def authority_of(target: bytes) -> bytes | None:
    """Return the authority of an absolute-form target (RFC 9112 §3.2.2), as sent; None for any other form."""
    if target.startswith(b"/"):
        return None
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        return None
    return rest[: min((at for mark in (b"/", b"?", b"#") if (at := rest.find(mark)) >= 0), default=len(rest))]


def parse_form(text: bytes) -> tuple[tuple[str, str], ...]:
    """Decode `application/x-www-form-urlencoded` text (WHATWG URL §5.1). Raise UnicodeDecodeError unless UTF-8."""
    pairs = [pair.partition(b"=") for pair in text.split(b"&") if pair]
    return tuple((_decoded(name), _decoded(value)) for name, _, value in pairs)


def _decoded(text: bytes) -> str:
    """Undo the encoding of a form's name or value; a `%` without two hexadecimal digits stands for itself."""
    text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text.decode()
    first, *rest = text.split(b"%")
    return b"".join([first, *(_unescaped(part) for part in rest)]).decode()


def _unescaped(part: bytes) -> bytes:
    digits = part[:2]
    if len(digits) == 2 and digits.isalnum():
        try:
            return bytes((int(digits, 16),)) + part[2:]
        except ValueError:
            pass
    return b"%" + part
