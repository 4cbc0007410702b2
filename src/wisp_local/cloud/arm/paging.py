"""Cut a list into pages as Resource Manager does: `$top` and a `nextLink` with a `$skiptoken`; knows no store.

The token says after which id to go on, so that a page is right although things come and go between two requests.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from wisp_local.cloud.arm.problem import ResourceError

PAGE = 1000  # items; what Resource Manager gives without $top, and the most that it gives
Item = Mapping[str, object]


def page(items: Sequence[Item], query: Mapping[str, str], url: str) -> Mapping[str, object]:
    """Return the page of `items` that `query` asks for; `url` is that of the list, without its query.

    Items are put into the order of their ids. Raises `ResourceError` for a `$top` or `$skiptoken` that is none.
    """
    top, after = _top(query.get("$top")), _after(query.get("$skiptoken"))
    ordered = sorted(items, key=_key)
    rest = [each for each in ordered if after is None or _key(each) > after]
    document: dict[str, object] = {"value": rest[:top]}
    if len(rest) > top:
        token = base64.urlsafe_b64encode(_key(rest[top - 1]).encode()).decode()
        document["nextLink"] = f"{url}?{urlencode({**query, '$skiptoken': token})}"
    return document


def _key(item: Item) -> str:
    return str(item["id"]).lower()


def _top(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit()) or int(text[:9]) == 0:
        raise ResourceError(400, "InvalidTopQueryParameter", f"The $top '{text:.40}' is no positive number.")
    return min(int(text[:9]), PAGE)


def _after(token: str | None) -> str | None:
    if token is None:
        return None
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        message = "The $skiptoken is none that this list gave."
        raise ResourceError(400, "InvalidSkipToken", message) from error
