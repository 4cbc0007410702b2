"""SDKs whose programs opt in to the token proxy of a cluster, and use no sidecar.

tests/cluster/test_gateway_sdk.py runs them against the gateway in a cluster. Here the proxy records what they send.
"""

from collections.abc import Callable

import pytest

from tests.interop import document, token_proxy
from tests.interop.cells import Row, token_proxy_rows
from tests.interop.token_proxy import Described

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("row", token_proxy_rows(), ids=str)
def test_document_has_the_requests_to_the_token_proxy(
    row: Row, proxied: Callable[[Row], Described], compatibility: str
) -> None:
    """If not: python -m tests.interop.token_proxy --write."""
    assert proxied(row) == token_proxy.documented(row, document.part(compatibility, "token_proxy"))
