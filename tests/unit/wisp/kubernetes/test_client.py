"""Connections to the API server: reuse and trust."""

import asyncio
import json

import pytest

from tests.unit.wisp.kubernetes import apiserver
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import ApiServer
from wisp.kubernetes.types import ApiRequest, ApiUnavailableError

REVIEW_BODY = json.dumps(
    {
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "u",
            "groups": [],
            "resourceAttributes": {
                "verb": "use-managed-identity",
                "group": "cid.wi.aks.azure.com",
                "resource": "none",
            },
        },
    }
).encode()


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


REVIEW = ApiRequest("/apis/authorization.k8s.io/v1/subjectaccessreviews", b"POST", REVIEW_BODY, repeatable=True)


def test_request_that_changes_nothing_is_sent_on_a_kept_connection(
    server: apiserver.ApiServer, config: ApiServer
) -> None:
    """And again on a new one if that was closed meanwhile."""

    async def scenario() -> None:
        client = ApiClient(config, connections=8)
        assert {response.status for response in await asyncio.gather(*map(client.request, [REVIEW] * 8))} == {201}
        assert server.accepted == 8
        assert {response.status for response in await asyncio.gather(*map(client.request, [REVIEW] * 8))} == {201}
        assert server.accepted == 8
        server.stop()
        server.start()
        assert {response.status for response in await asyncio.gather(*map(client.request, [REVIEW] * 8))} == {201}
        client.close()

    asyncio.run(scenario())


def test_request_that_changes_something_is_sent_once(server: apiserver.ApiServer, config: ApiServer) -> None:
    async def scenario() -> None:
        client = ApiClient(config)
        assert (await client.request(ApiRequest("/version"))).status == 200
        server.world.fault = lambda method, _: 0 if method == "POST" else None
        with pytest.raises(ApiUnavailableError, match="closed the connection"):
            await client.request(ApiRequest("/api/v1/namespaces/n/secrets", b"POST", b"{}"))
        client.close()

    asyncio.run(scenario())
    assert server.world.count_requests("POST") == 1


def test_no_more_connections_are_kept_than_wanted(server: apiserver.ApiServer, config: ApiServer) -> None:
    async def scenario() -> None:
        client = ApiClient(config, connections=2)
        for _ in range(2):
            await asyncio.gather(*map(client.request, [REVIEW] * 5))
        assert server.accepted == 5 + 3
        client.close()

    asyncio.run(scenario())


def test_no_kept_connection_is_used_after_a_request_that_was_not_answered(
    server: apiserver.ApiServer, config: ApiServer
) -> None:
    """The server may have vanished, and each of the connections would cost the same time."""

    async def scenario() -> None:
        client = ApiClient(config, connections=8)
        await asyncio.gather(*map(client.request, [REVIEW] * 4))
        server.world.callers.latency = 0.5
        with pytest.raises(ApiUnavailableError, match="did not answer in time"):
            await client.request(REVIEW, 0.05)
        server.world.callers.latency = 0.0
        await client.request(REVIEW)
        assert server.accepted == 5
        client.close()

    asyncio.run(scenario())
