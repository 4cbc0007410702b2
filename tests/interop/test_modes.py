"""The sources of tokens in a pod whose application has the webhook's variables, and the mount, too."""

from collections.abc import Callable

import pytest

from tests.interop import document, modes
from tests.interop.cells import Route, Row, rows

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("row", [row for route in Route for row in rows(route)], ids=str)
def test_document_has_the_source_of_the_token(row: Row, sources: Callable[[Row], str], compatibility: str) -> None:
    """If not: python -m tests.interop.modes --write."""
    assert sources(row) == modes.documented(row, document.part(compatibility, "modes"))
