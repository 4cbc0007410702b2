"""Finds who gives clients their token in a pod whose application has the webhook's variables, too.

`python -m tests.interop.modes --write` puts what was found last into docs/reference/compatibility.md.
"""

import sys
from collections.abc import Iterator, Mapping

from tests.interop import document, results
from tests.interop.asking import ask
from tests.interop.build import Built
from tests.interop.cells import Route, Row, programs, sdks
from tests.interop.document import label, line
from tests.interop.injection import Sharing
from tests.interop.recorder import CLIENT_ID
from tests.interop.routes import Site
from tests.interop.table import error_type

COLUMNS = {Route.INTERCEPTION: "`redirect`", Route.ENVIRONMENT: "`env`"}
TITLE = "With the webhook's variables"


def find_source(row: Row, client: Built, site: Site) -> str:
    """Run the client where a recorder is in the sidecar's place; say whether its token is from there, or from Entra."""
    with site.recorder(Sharing.ALL) as (place, _log):
        answer = ask(client, row, place, {**site.surroundings, **place.environment})
    if not answer.ok:
        return f"`{error_type(answer.error)}`"
    assert answer.claims is not None
    sources = {CLIENT_ID: "sidecar", site.authority.default.client_id: "Entra"}
    return sources[answer.claims["appid"]]


def tables(found: Mapping[Row, str]) -> str:
    """Write the table of both routes."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[Row, str]) -> Iterator[str]:
    yield f"### {TITLE}\n"
    yield line("client", *COLUMNS.values())
    yield line(*["---"] * (len(COLUMNS) + 1))
    for row in (*sdks(Route.INTERCEPTION), *programs(Route.INTERCEPTION)):
        each = (found.get(Row(row.client, row.mode, route), "not run") for route in COLUMNS)
        yield line(label(row), *each)


def said(row: Row, text: str) -> str:
    """Return what the document says of the row."""
    return document.read(text)[TITLE, label(row), COLUMNS[row.route]]


if __name__ == "__main__":
    sys.exit(document.main("modes", tables(results.sources()), sys.argv[1:]))
