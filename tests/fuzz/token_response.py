"""Whatever an authority answers into `interpret`, and on to the client: a token or a refusal that can be passed on.

An input is `STATUS` or `STATUS RETRY-AFTER` on a line of its own, then the body.
"""

import base64
import json
import math
import re
from collections.abc import Callable

from tests.support.fakes import ASK, UNIX
from wisp.entra.exchange.interpret import interpret
from wisp.entra.freshness import hold_off, token_of
from wisp.entra.messages import Granted, Refused, Result, pack_result, unpack_result
from wisp.imds.answer import TokenDetails, error_body, token_body

_THREE_PARTS = re.compile(r"(?<![\w-])(?=([\w-]+)\.[\w-]*\.)", re.ASCII)
_STATUSES = {400, 401, 403, 429, 503}

Interpret = Callable[[int, str | None, bytes, float], Result]


def check(data: bytes, interpreted: Interpret = interpret) -> None:
    """Fail if the result cannot be passed on, or reveals a token."""
    line, _, body = data.partition(b"\n")
    status, _, retry_after = line.decode("latin-1").partition(" ")
    number = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200
    result = interpreted(number, retry_after or None, body, UNIX)
    assert unpack_result(pack_result(3, result)) == (3, result), "it does not survive the way between the processes"
    if isinstance(result, Granted):
        _check_granted(number, result)
    else:
        _check_refused(result)


def _check_granted(status: int, granted: Granted) -> None:
    assert status == 200
    value = granted.access_token.reveal()
    assert repr(granted.access_token) == "Secret(***)", "a token shows itself"
    token = token_of(granted, now=1000.0, unix=UNIX, spread=0.5)
    assert 1000.0 < token.renew_at <= token.spare_at <= token.expires_at
    grant = TokenDetails(ASK.client_id, ASK.resource, token.expires_on, token.not_before)
    document = json.loads(token_body(value, grant, 1))
    assert document["access_token"] == value
    assert all(isinstance(field, str) for field in document.values())


def _check_refused(refused: Refused) -> None:
    assert refused.status in _STATUSES
    assert not holds_token(f"{refused.error} {refused.description}"), "a refusal holds a token"
    assert refused.retry_after is None or math.isfinite(refused.retry_after)
    assert 0 < hold_off(refused, failures=1, spread=0.5) <= 3600
    assert json.loads(error_body(refused.error, refused.description))["error"] == refused.error


def holds_token(text: str) -> bool:
    """Return whether `text` holds something in the form of a token."""
    firsts = _THREE_PARTS.findall(text)
    return any(_is_header(part[at:]) for part in firsts for at in range(len(part)))


def _is_header(text: str) -> bool:
    """Return whether `text` is base64url of a JSON object with `alg`, as at the start of every token."""
    if not text.startswith("e"):  # as `{` does
        return False
    try:
        document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "alg" in document
