"""A .NET program lists the local cloud's subscription, which it takes for Azure's."""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from tests.interop.asking import ask
from tests.interop.authority import RESOURCE_MANAGER
from tests.interop.build import Built
from tests.interop.cells import Route, Row, Sidecar
from tests.interop.routes import Site
from wisp_local.cloud.state.store import Store

pytestmark = [pytest.mark.system, pytest.mark.interop, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("row", [Row("dotnet", "mi", route) for route in Route], ids=str)
def test_dotnet_lists_the_subscription(
    row: Row, clients: Mapping[str, Future[Built]], sites: Mapping[Route, Site]
) -> None:
    """It asks management.azure.com, which is the local cloud, and trusts the local CA."""
    site = sites[row.route]
    with site.tunnel({RESOURCE_MANAGER: site.authority.url}) as tunnel, site.sidecar(Sidecar.HEALTHY) as place:
        told = {**site.surroundings, "WISP_TUNNEL": tunnel}
        answer = ask(clients[row.client].result(), row, place, told, "--subscriptions")
    assert answer.ok, answer.error
    with Store(site.authority.state) as store:
        there = store.subscription()
    assert [(each["subscriptionId"], each["tenantId"]) for each in answer.subscriptions] == [
        (there.id, there.tenant_id)
    ]
