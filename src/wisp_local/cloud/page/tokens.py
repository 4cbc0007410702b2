"""A JWT decoded for reading, without trusting it, and times and characters in readable form.

Unlike the token endpoint this reads whatever can be read: a token that Entra refuses is the one worth looking at.
All times are Unix seconds.
"""

import base64
import json
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

TEXTS = tomllib.loads(files(__package__).joinpath("texts.toml").read_text(encoding="utf-8"))
_TIMES = ("exp", "iat", "nbf", "xms_tcdt")
_LAST = 253402300799  # 9999-12-31T23:59:59Z, the last that a datetime can express
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Presented:
    """What an assertion claims, trusted or not; a missing claim is empty."""

    issuer: str
    subject: str
    audience: str


@dataclass(frozen=True)
class Claim:
    """A member of a header or payload: its value as JSON, and its meaning, with a readable time if it is one."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Decoded:
    """The header and payload of a JWT."""

    header: Mapping[str, object]
    payload: Mapping[str, object]

    @property
    def presented(self) -> Presented:
        """What Entra compares; a list with one audience is that audience."""
        audience = self.payload.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        return Presented(_text(self.payload.get("iss")), _text(self.payload.get("sub")), _text(audience))

    @property
    def key_id(self) -> str:
        """The `kid` of the header, empty when it is missing or not a string."""
        key_id = self.header.get("kid")
        return key_id if isinstance(key_id, str) else ""


def decode(token: str) -> Decoded | None:
    """Decode `token`, or return None when it is not a JWT in compact form."""
    segments = token.split(".")
    if len(segments) != 3:
        return None
    header, payload = map(_document, segments[:2])
    return None if header is None or payload is None else Decoded(header, payload)


def _document(segment: str) -> dict[str, object] | None:
    try:
        padded = segment.encode("ascii") + b"=" * (-len(segment) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str:
    """Return a string as it is and another value as JSON, so that a list of audiences can be seen."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def claims(document: Mapping[str, object], now: float) -> tuple[Claim, ...]:
    """Return the members of a header or payload in their order."""
    found = []
    for name, value in document.items():
        meaning, seconds = TEXTS["claims"].get(name, ""), number(document, name)
        if name in _TIMES and seconds is not None:
            meaning = f"{meaning} {moment(seconds)}, {since(seconds, now)}"
        text = json.dumps(value, indent=2 if isinstance(value, dict) else None, ensure_ascii=False)
        found.append(Claim(name, text, meaning))
    return tuple(found)


def number(document: Mapping[str, object], name: str) -> float | None:
    """Return a claim when it is a number."""
    value = document.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None  # noqa: PLR0124 -- NaN


def moment(seconds: float) -> str:
    """Write `2026-11-23 19:32:23 UTC`."""
    return f"{datetime.fromtimestamp(min(max(seconds, 0), _LAST), UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Write a length of time in its two largest units: `1 h 5 min`; less than a second is `0 s`."""
    rest, texts = int(min(abs(seconds), _LAST)), []
    for length, unit in _UNITS:
        count, rest = divmod(rest, length)
        texts.append(f"{count} {unit}" if count else "")
    first = next((index for index, text in enumerate(texts) if text), len(texts))
    return " ".join(text for text in texts[first : first + 2] if text) or "0 s"


def since(seconds: float, now: float) -> str:
    """Write how far `seconds` is from `now`: `5 min ago`, `in 24 h`, `now`."""
    age = int(now) - int(min(max(seconds, -_LAST), _LAST))
    if age == 0:
        return "now"
    return f"{span(age)} ago" if age > 0 else f"in {span(age)}"


def visible(text: str) -> str:
    """Replace characters that are invisible or reorder their surroundings by their code points, such as `[U+200B]`."""
    return "".join(
        character if character == " " or character.isprintable() else f"[U+{ord(character):04X}]" for character in text
    )


def character_name(character: str) -> str:
    """Write `U+200B zero width space`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character').lower()}"
