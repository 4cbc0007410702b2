"""All clients, unmodified: their tokens from a sidecar, and their errors."""

import time
from collections.abc import Callable, Mapping

import pytest

from tests.interop import document, table
from tests.interop.cells import ERRORS, TOKENS, Case, Cell, Route, cells, hidden_reason
from tests.interop.client_run import Answer
from tests.interop.local_cloud import Authority

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]

_LIFETIME = 24 * 3600  # seconds; what the authority issues
_WITHOUT_EXPIRY = ("dotnet", "programs", "go-programs", "java-programs")
"""Programs that use their token and do not print its expiry."""
_SLACK = 6 * 3600  # seconds between the first exchange and the last request, however slow the machine is


@pytest.mark.parametrize("cell", cells(*TOKENS), ids=str)
def test_client_gets_a_token_of_the_selected_identity(
    cell: Cell, matrix: Callable[[Cell], Answer], authorities: Mapping[Route, Authority]
) -> None:
    """For the right audience, and with the right expiry."""
    answer = matrix(cell)
    authority = authorities[cell.row.route]
    identity = authority.other if cell.case is Case.CLIENT_ID else authority.default
    assert answer.ok, answer.error
    resource = cell.row.sdk.resource
    assert answer.claims == {"appid": identity.client_id, "oid": identity.principal_id, "aud": resource}
    if cell.row.client not in _WITHOUT_EXPIRY:
        assert -_SLACK < answer.expires_on - time.time() - _LIFETIME < _SLACK


@pytest.mark.parametrize("cell", cells(*ERRORS), ids=str)
def test_error_contains_the_reason(cell: Cell, matrix: Callable[[Cell], Answer]) -> None:
    """In the SDK's own error, unless the SDK hides it."""
    answer = matrix(cell)
    assert not answer.ok
    assert cell.case.reason is not None
    if hidden_reason(cell) is None:
        assert cell.case.reason in answer.error
    else:
        assert cell.case.reason not in answer.error, "it is no longer hidden: remove it from cells.py"


@pytest.mark.parametrize("cell", cells(*Case), ids=str)
def test_document_has_the_same_result(cell: Cell, matrix: Callable[[Cell], Answer], compatibility: str) -> None:
    """If not: python -m tests.interop.table --write."""
    now = document.without_seconds(table.mark(cell, matrix(cell)))
    assert now == table.documented(cell, document.part(compatibility, "table"))
