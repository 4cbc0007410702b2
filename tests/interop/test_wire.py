"""What every client sends is what the document says, so that a new version of an SDK is seen to ask differently."""

from collections.abc import Callable

import pytest

from tests.interop import document, wire
from tests.interop.cells import Route, Row, rows
from tests.interop.wire import Sent

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("row", [row for route in Route for row in rows(route)], ids=str)
def test_the_document_says_what_is_sent(row: Row, sent: Callable[[Row], Sent], compatibility: str) -> None:
    """If not: python -m tests.interop.wire --write."""
    assert sent(row) == wire.said(row, document.part(compatibility, "wire"))
