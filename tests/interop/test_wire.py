"""The requests of all clients are as documented: a new version of an SDK may send others."""

from collections.abc import Callable

import pytest

from tests.interop import document, wire
from tests.interop.cells import Route, Row, rows
from tests.interop.wire import SentRequests

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("row", [row for route in Route for row in rows(route)], ids=str)
def test_document_has_the_requests(row: Row, sent: Callable[[Row], SentRequests], compatibility: str) -> None:
    """If not: python -m tests.interop.wire --write."""
    assert sent(row) == wire.documented(row, document.part(compatibility, "wire"))
