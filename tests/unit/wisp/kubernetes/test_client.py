"""Connections to the API server: reuse and trust."""

import asyncio

import pytest

from tests.unit.wisp.kubernetes import apiserver
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.types import ApiRequest, ApiUnavailableError


def test_reused_connection_that_was_closed_is_replaced(server: apiserver.ApiServer, config: ApiServer) -> None:
    """The request is sent again on a new connection."""

    async def scenario() -> None:
        client = ApiClient(config)
        assert (await client.request(ApiRequest("/version"))).status == 200
        server.stop()
        server.start()
        assert (await client.request(ApiRequest("/version"))).status == 200
        client.close()

    asyncio.run(scenario())


def test_untrusted_api_server_receives_nothing(server: apiserver.ApiServer, config: ApiServer) -> None:
    """It must not receive the token."""
    other = apiserver.ApiServer()
    other.port = server.port
    server.stop()
    other.start()
    with pytest.raises(ApiUnavailableError, match="not trusted"):
        asyncio.run(ApiClient(config).request(ApiRequest("/version")))
    assert not other.world.requests
    other.stop()
