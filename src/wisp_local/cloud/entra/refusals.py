"""The refusals of the token endpoint, in Entra's words: the table `refusals.toml`, with values filled in."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

LONGEST_ASSERTION = 25 * 60 * 60  # seconds that an assertion may be valid: a day, and an hour for clocks that differ
CERTIFICATE_NOT_REGISTERED = 700027
_LAST_INSTANT = 253402300799  # 9999-12-31T23:59:59Z, the last that a datetime can represent


@dataclass(frozen=True)
class Refused:
    """Why there is no token: `AADSTS{code}: {text}` with the OAuth `error`, answered with HTTP `status`."""

    code: int
    error: str
    status: int
    text: str


@cache
def _table() -> Mapping[str, Refused]:
    import tomllib  # noqa: PLC0415 -- most commands need no table, and so no parser

    rows = tomllib.loads((pkgutil.get_data(__package__, "refusals.toml") or b"").decode())
    return {
        name: Refused(
            row["code"], row["error"], row.get("status", 401 if row["error"] == "invalid_client" else 400), row["text"]
        )
        for name, row in rows.items()
    }


def refuse(name: str, /, **values: str) -> Refused:
    """Return the refusal called `name` in the table, whose text has a field for each of `values`."""
    row = _table()[name]
    return Refused(row.code, row.error, row.status, row.text.format(**values))


def not_within_valid_time(now: float, not_before: float, expires: float) -> Refused:
    """700024: the assertion has expired or is not valid yet; all three are Unix seconds."""
    times = {"now": now, "not_before": not_before, "expires": expires}
    return refuse("not_within_valid_time", **{name: _instant(seconds) for name, seconds in times.items()})


def _instant(seconds: float) -> str:
    moment = datetime.fromtimestamp(min(max(seconds, 0), _LAST_INSTANT), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}0Z"  # .NET writes seven decimals


def certificate_not_registered(client_id: str, thumbprint: str) -> Refused:
    """700027: the client signed the assertion itself with a certificate; `thumbprint` is hexadecimal or empty."""
    key = f" Thumbprint of key used by client: '{thumbprint}'," if thumbprint else ""
    return refuse("certificate_not_registered", client_id=client_id, key=key)
