"""Read the `$filter` of a list and compare with it; knows no store and no HTTP.

Known is what `az` sends: `property eq 'value'`, joined by `and` (OData 4.01, 5.1.1.1). Anything else is refused,
since a filter that is read past gives an answer that nobody asked for.
"""

import re
from collections.abc import Collection, Mapping

from wisp_local.cloud.arm.problem import ResourceError

_EQUALS = re.compile(r"\s*(\w+)\s+eq\s+'((?:[^']++|'')*+)'\s*", re.IGNORECASE)
_AND = re.compile(r"and(?=\s)", re.IGNORECASE)
TAG_NAME, TAG_VALUE = "tagname", "tagvalue"


def equalities(text: str | None, known: Collection[str]) -> Mapping[str, str]:
    """Return the values that `text` asks for, by property in lower case; raise `ResourceError` for other filters."""
    found: dict[str, str] = {}
    start = 0
    while text and start < len(text):
        comparison = _EQUALS.match(text, start)
        if comparison is None or comparison[1].lower() not in known:
            raise _unknown(text, known)
        found[comparison[1].lower()] = comparison[2].replace("''", "'")
        conjunction = _AND.match(text, comparison.end())
        if conjunction is None and comparison.end() < len(text):
            raise _unknown(text, known)
        start = comparison.end() if conjunction is None else conjunction.end()
    return found


def has_tag(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether `tags` have the tag that is asked for; names ignore case, values do not."""
    name, value = wanted.get(TAG_NAME), wanted.get(TAG_VALUE)
    if name is None and value is None:
        return True
    return any(
        (name is None or key.lower() == name.lower()) and (value is None or held == value) for key, held in tags.items()
    )


def _unknown(text: str, known: Collection[str]) -> ResourceError:
    message = (
        f"Invalid $filter '{text:.200}' specified in the query string: this local cloud knows property eq 'value', "
        f"joined by and, of {', '.join(sorted(known))}."
    )
    return ResourceError(400, "InvalidFilterInQueryString", message)
