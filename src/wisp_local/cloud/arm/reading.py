"""Read what requests ask for: JSON bodies, `$filter`, and the pages of a list.

Raises `ResourceError` in Azure's words. Properties that this cloud does not use are ignored, because newer clients send
more of them with every version.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

from wisp_local.cloud.arm import problem
from wisp_local.cloud.arm.problem import ResourceError

PAGE = 1000  # items; what Resource Manager returns without $top, and at most
TAG_NAME, TAG_VALUE = "tagname", "tagvalue"  # in a $filter
Item = Mapping[str, object]
_TAGS = 50
_TAG_NAME_LIMIT, _TAG_VALUE_LIMIT = 512, 256  # characters
_LOCATION_LIMIT = 60  # characters; it becomes part of paths and headers
_EQUALS = re.compile(r"\s*(\w+)\s+eq\s+'((?:[^']++|'')*+)'\s*", re.IGNORECASE)
_AND = re.compile(r"and(?=\s)", re.IGNORECASE)


def read_json(body: bytes) -> Mapping[str, object]:
    """Parse a body; an empty one is an empty object."""
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise problem.invalid_content("it is not JSON") from error
    if not isinstance(document, dict):
        raise problem.invalid_content("it is not a JSON object")
    return document


def object_field(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object called `name`; one that is absent or null is empty."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise problem.invalid_content(f"'{name}' is not a JSON object")
    return value


def text_field(document: Mapping[str, object], name: str) -> str:
    """Return the string called `name`; one that is absent or null is empty."""
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not _is_storable(value):
        raise problem.invalid_content(f"'{name}' is not a string")
    return value


def _is_storable(value: str) -> bool:
    """Reject what SQLite cannot store: NUL, and the halves of surrogate pairs that JSON can escape."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def location(body: Mapping[str, object]) -> str:
    """Return the region's short name: clients may write `East US` for `eastus`."""
    found = text_field(body, "location").replace(" ", "").lower()
    if not found:
        message = "The location property is required for this definition."
        raise ResourceError(400, "LocationRequired", message)
    if not (found.isascii() and found.isalnum()) or len(found) > _LOCATION_LIMIT:
        message = f"The provided location {found!a:.80} is not available: a region's name is letters and digits."
        raise ResourceError(400, "LocationNotAvailableForResourceType", message)
    return found


def tags(body: Mapping[str, object]) -> Mapping[str, str] | None:
    """Return the tags, or None when the body does not mention them (https://aka.ms/arm-tag-limits)."""
    if body.get("tags") is None:
        return None
    found = object_field(body, "tags")
    if len(found) > _TAGS:
        message = f"The resource has {len(found)} tags. At most {_TAGS} are allowed."
        raise ResourceError(400, "InvalidTags", message)
    for name, value in found.items():
        if not isinstance(value, str) or not _is_storable(name + value):
            raise ResourceError(400, "InvalidTags", f"The value of tag '{name!a:.80}' is not a string.")
        if not 0 < len(name) <= _TAG_NAME_LIMIT or len(value) > _TAG_VALUE_LIMIT:
            message = (
                f"Tag '{name:.80}' is too long: names have up to {_TAG_NAME_LIMIT} characters, values "
                f"{_TAG_VALUE_LIMIT}."
            )
            raise ResourceError(400, "InvalidTags", message)
    return {name: str(value) for name, value in found.items()}


def equalities(text: str | None, properties: Collection[str]) -> Mapping[str, str]:
    """Return the values that a `$filter` compares with, by property in lower case.

    Understands what `az` sends: `property eq 'value'`, joined by `and` (OData 4.01, 5.1.1.1). Everything else raises
    `ResourceError`: ignoring a filter would answer a question that nobody asked.
    """
    values: dict[str, str] = {}
    start = 0
    while text and start < len(text):
        comparison = _EQUALS.match(text, start)
        conjunction = comparison and _AND.match(text, comparison.end())
        if (
            comparison is None
            or comparison[1].lower() not in properties
            or (conjunction is None and comparison.end() < len(text))
        ):
            message = (
                f"Invalid $filter '{text:.200}' specified in the query string: this local cloud supports property eq "
                f"'value', joined by and, of {', '.join(sorted(properties))}."
            )
            raise ResourceError(400, "InvalidFilterInQueryString", message)
        values[comparison[1].lower()] = comparison[2].replace("''", "'")
        start = comparison.end() if conjunction is None else conjunction.end()
    return values


def has_tag(tags: Mapping[str, str], filters: Mapping[str, str]) -> bool:
    """Tell whether `tags` hold the tag that `filters` ask for; names ignore case, values do not."""
    name, value = filters.get(TAG_NAME), filters.get(TAG_VALUE)
    if name is None and value is None:
        return True
    return any(
        (name is None or tag.lower() == name.lower()) and (value is None or tag_value == value)
        for tag, tag_value in tags.items()
    )


def page(items: Sequence[Item], query: Mapping[str, str], url: str) -> Mapping[str, object]:
    """Return the page of `items` that `query` asks for, in the order of their ids: `$top`, `$skiptoken`, `nextLink`.

    `url` is that of the list, without its query. The token names the id to continue after, so pages stay right while
    items come and go. Raises `ResourceError` for an invalid `$top` or `$skiptoken`.
    """
    top, after = _top(query.get("$top")), _after(query.get("$skiptoken"))
    rest = [item for item in sorted(items, key=_key) if after is None or _key(item) > after]
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
        raise ResourceError(400, "InvalidTopQueryParameter", f"The $top '{text:.40}' is not a positive number.")
    return min(int(text[:9]), PAGE)


def _after(token: str | None) -> str | None:
    if token is None:
        return None
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:  # binascii.Error and UnicodeDecodeError are ValueErrors
        raise ResourceError(400, "InvalidSkipToken", "The $skiptoken was not returned by this list.") from error
