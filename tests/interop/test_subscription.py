"""A .NET program lists the local cloud's subscription as if it were Azure's."""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from tests.interop.build import Built
from tests.interop.cells import Route, Row, Sidecar
from tests.interop.client_run import run_client
from tests.interop.local_cloud import RESOURCE_MANAGER
from tests.interop.routes import Setup
from wisp_local.cloud.state.store import Store

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("row", [Row("dotnet", "mi", route) for route in Route], ids=str)
def test_dotnet_lists_the_subscription(
    row: Row, clients: Mapping[str, Future[Built]], setups: Mapping[Route, Setup]
) -> None:
    """It asks management.azure.com, which is the local cloud, and trusts the local CA."""
    setup = setups[row.route]
    with setup.tunnel({RESOURCE_MANAGER: setup.authority.url}) as tunnel, setup.sidecar(Sidecar.HEALTHY) as place:
        variables = {**setup.client_variables, "WISP_TUNNEL": tunnel}
        answer = run_client(clients[row.client].result(), row, place, variables, "--subscriptions")
    assert answer.ok, answer.error
    with Store(setup.authority.state) as store:
        subscription = store.subscription()
    assert [(item["subscriptionId"], item["tenantId"]) for item in answer.subscriptions] == [
        (subscription.id, subscription.tenant_id)
    ]
