"""A JWT taken apart for reading, without believing it; knows no keys, and `now` is an argument.

Unlike `cloud.assertion` it reads whatever can be read: a token that Entra refuses is the one worth looking at.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from wisp_local.cloud.pages.nearest import Presented
from wisp_local.cloud.pages.readable import moment, since

_TIMES = ("exp", "iat", "nbf", "xms_tcdt")
_MEANINGS = {
    "aud": "whom the token is for",
    "iss": "who issued it",
    "sub": "who it is about",
    "iat": "issued",
    "nbf": "valid from",
    "exp": "expires",
    "appid": "client id of the identity",
    "appidacr": "how the client proved itself: 1, a secret; 2, an assertion",
    "idtyp": "app: no user is involved",
    "oid": "principal (object) id of the identity",
    "tid": "the tenant",
    "ver": "version of the token's format",
    "xms_cae": "continuous access evaluation",
    "xms_cc": "what the client is capable of",
    "xms_mirid": "the managed identity's resource id",
    "xms_tcdt": "the tenant was created",
    "kubernetes.io": "the pod and service account it is bound to",
    "alg": "how it is signed",
    "kid": "which key signed it",
    "x5t": "thumbprint of that key's certificate",
    "typ": "what it is",
}


@dataclass(frozen=True)
class Claim:
    """A member of a header or payload: its value as JSON, and what it means, perhaps with a time made readable."""

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
        """What Entra compares."""
        audience = self.payload.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        return Presented(_text(self.payload.get("iss")), _text(self.payload.get("sub")), _text(audience))


def decode(token: str) -> Decoded | None:
    """Take `token` apart, or return None when it is no JWT in compact form."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    header, payload = map(_document, parts[:2])
    return None if header is None or payload is None else Decoded(header, payload)


def claims(document: Mapping[str, object], now: float) -> tuple[Claim, ...]:
    """Return the members of a header or payload in the order they have."""
    return tuple(Claim(name, _json(value), _meaning(name, value, now)) for name, value in document.items())


def number(document: Mapping[str, object], name: str) -> float | None:
    """Return a time claim when it is a number."""
    value = document.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None  # noqa: PLR0124 -- NaN


def _meaning(name: str, value: object, now: float) -> str:
    meaning, seconds = _MEANINGS.get(name, ""), number({name: value}, name)
    if name in _TIMES and seconds is not None:
        return f"{meaning} {moment(seconds)}, {since(seconds, now)}"
    return meaning


def _json(value: object) -> str:
    return json.dumps(value, indent=2 if isinstance(value, dict) else None, ensure_ascii=False)


def _text(value: object) -> str:
    """Return a string claim as it is, another as JSON, so that a list of audiences can be seen; a missing one empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _document(segment: str) -> dict[str, object] | None:
    try:
        padded = segment.encode("ascii") + b"=" * (-len(segment) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
