"""A cloud with its page, requested from an address."""

from collections.abc import Generator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.wisp_local.cloud.asgi import Client
from tests.unit.wisp_local.cloud.world import BASE_URL, World
from wisp_local.cloud.app import Options, create_app

HOST = BASE_URL.removeprefix("https://")


class ComingFrom:
    """ASGI middleware: requests come from `address`."""

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self._app({**scope, "client": (self._address, 40000)}, receive, send)


@pytest.fixture
def app(world: World) -> ASGIApp:
    """Give the world's application with its page."""
    options = Options(
        aliases=["https://127.0.0.1:8443", "https://[::1]:8443"],
        log=lambda record: world.log.append(dict(record)),
        page=True,
    )
    return create_app(world.store, BASE_URL, options)


@pytest.fixture
def page_world(world: World, app: ASGIApp) -> Generator[World]:
    """Give the world, asked from this machine."""
    with Client(ComingFrom(app, "127.0.0.1"), HOST) as client:
        world.client = client
        yield world
