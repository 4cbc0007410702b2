"""Moments, spans and strings as people read them; `now` is an argument, all times are Unix seconds."""

import unicodedata
from datetime import UTC, datetime

_LAST = 253402300799  # 9999-12-31T23:59:59Z, the last that a datetime can say
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def moment(seconds: float) -> str:
    """Write `2026-11-23 19:32:23 UTC`."""
    return f"{datetime.fromtimestamp(min(max(seconds, 0), _LAST), UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Write a length of time in its two largest units: `1 h 5 min`; less than a second is `0 s`."""
    rest, parts = int(min(abs(seconds), _LAST)), []
    for length, unit in _UNITS:
        count, rest = divmod(rest, length)
        parts.append(f"{count} {unit}" if count else "")
    first = next((index for index, part in enumerate(parts) if part), len(parts))
    return " ".join(part for part in parts[first : first + 2] if part) or "0 s"


def since(seconds: float, now: float) -> str:
    """Write how far `seconds` is from `now`: `5 min ago`, `in 24 h`, `now`."""
    away = int(now) - int(min(max(seconds, -_LAST), _LAST))
    if away == 0:
        return "now"
    return f"{span(away)} ago" if away > 0 else f"in {span(away)}"


def visible(text: str) -> str:
    """Spell out what cannot be seen or would rearrange what is around it (control, format and odd space characters)."""
    return "".join(each if each == " " or each.isprintable() else spelled(each) for each in text)


def spelled(character: str) -> str:
    """Write `[U+200B]`."""
    return f"[U+{ord(character):04X}]"


def named(character: str) -> str:
    """Write `U+200B zero width space`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character').lower()}"
