"""A cloud with its page, requested from an address."""

from collections.abc import Generator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.wisp_local.cloud.asgi import Client
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SmallAzure
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
def app(azure: SmallAzure) -> ASGIApp:
    """Return the application with its page."""
    options = Options(
        aliases=["https://127.0.0.1:8443", "https://[::1]:8443"],
        log=lambda record: azure.log.append(dict(record)),
        page=True,
    )
    return create_app(azure.store, BASE_URL, options)


@pytest.fixture
def page_azure(azure: SmallAzure, app: ASGIApp) -> Generator[SmallAzure]:
    """Return the small Azure with its page, requested from this machine."""
    with Client(ComingFrom(app, "127.0.0.1"), HOST) as client:
        azure.client = client
        yield azure
