"""Finds the source of the clients' tokens in a pod whose application has the webhook's variables, too.

`python -m tests.interop.modes --write` writes the last results into docs/reference/compatibility.md.
"""

import sys
from collections.abc import Iterator, Mapping

from tests.interop import document, results
from tests.interop.build import Built
from tests.interop.cells import Route, Row, programs, sdks
from tests.interop.client_run import run_client
from tests.interop.document import label, line
from tests.interop.injection import Sharing
from tests.interop.recorder import CLIENT_ID
from tests.interop.routes import Setup
from tests.interop.table import error_type

COLUMNS = {Route.INTERCEPTION: "`redirect`", Route.ENVIRONMENT: "`env`"}
TITLE = "With the webhook's variables"


def find_source(row: Row, client: Built, setup: Setup) -> str:
    """Run the client with a recorder instead of the sidecar; return whether its token is from there, or from Entra."""
    with setup.recorder(Sharing.ALL) as (place, _log):
        answer = run_client(client, row, place, {**setup.client_variables, **place.environment})
    if not answer.ok:
        return f"`{error_type(answer.error)}`"
    assert answer.claims is not None
    sources = {CLIENT_ID: "sidecar", setup.authority.default.client_id: "Entra"}
    return sources[answer.claims["appid"]]


def tables(found: Mapping[Row, str]) -> str:
    """Return the table of both routes."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[Row, str]) -> Iterator[str]:
    yield f"### {TITLE}\n"
    yield line("client", *COLUMNS.values())
    yield line(*["---"] * (len(COLUMNS) + 1))
    for row in (*sdks(Route.INTERCEPTION), *programs(Route.INTERCEPTION)):
        cells = (found.get(Row(row.client, row.mode, route), "not run") for route in COLUMNS)
        yield line(label(row), *cells)


def documented(row: Row, text: str) -> str:
    """Return the cell of the row in the document."""
    return document.read(text)[TITLE, label(row), COLUMNS[row.route]]


if __name__ == "__main__":
    sys.exit(document.main("modes", tables(results.row_texts("sources")), sys.argv[1:]))
