"""Every client, unmodified: what it gets from a sidecar, and what it tells its application when it gets nothing."""

import time
from collections.abc import Callable, Mapping

import pytest

from tests.interop import document, table
from tests.interop.asking import Answer
from tests.interop.authority import Authority
from tests.interop.cells import ERRORS, TOKENS, Case, Cell, Route, cells, kept_back

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]

_LIFETIME = 24 * 3600  # seconds; what the authority issues
_SILENT = ("dotnet", "programs", "go-programs", "java-programs")
"""Programs that use their token and do not tell when it expires."""
_SLACK = 6 * 3600  # seconds between the first exchange and the last question, however slow the machine is


@pytest.mark.parametrize("cell", cells(*TOKENS), ids=str)
def test_a_token_of_the_identity_asked_for(
    cell: Cell, matrix: Callable[[Cell], Answer], authorities: Mapping[Route, Authority]
) -> None:
    """It is the right identity's, for the right audience, and an SDK knows when it expires."""
    answer = matrix(cell)
    asked = authorities[cell.row.route]
    identity = asked.other if cell.case is Case.CLIENT_ID else asked.default
    assert answer.ok, answer.error
    resource = cell.row.sdk.resource
    assert answer.claims == {"appid": identity.client_id, "oid": identity.principal_id, "aud": resource}
    if cell.row.client not in _SILENT:
        assert -_SLACK < answer.expires_on - time.time() - _LIFETIME < _SLACK


@pytest.mark.parametrize("cell", cells(*ERRORS), ids=str)
def test_an_error_says_why(cell: Cell, matrix: Callable[[Cell], Answer]) -> None:
    """The reason is in the SDK's own error, unless the SDK keeps it back."""
    answer = matrix(cell)
    assert not answer.ok
    assert cell.case.reason is not None
    if kept_back(cell) is None:
        assert cell.case.reason in answer.error
    else:
        assert cell.case.reason not in answer.error, "it is kept back no longer: take it out of cells.py"


@pytest.mark.parametrize("cell", cells(*Case), ids=str)
def test_the_document_says_the_same(cell: Cell, matrix: Callable[[Cell], Answer], compatibility: str) -> None:
    """If not: python -m tests.interop.table --write."""
    now = document.without_seconds(table.mark(cell, matrix(cell)))
    assert now == table.said(cell, document.part(compatibility, "table"))
