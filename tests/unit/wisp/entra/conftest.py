"""What the tests of the exchange share."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.support.fakes import jwt
from wisp.entra.exchange.endpoint import TokenEndpoint
from wisp.entra.settings import ExchangeSettings


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Give a service account token."""
    file = tmp_path / "token"
    file.write_text(jwt(sub="system:serviceaccount:default:default"))
    return file


@pytest.fixture
def endpoints() -> Generator[Callable[[ExchangeSettings], TokenEndpoint]]:
    """Make endpoints, closed at the end."""
    made: list[TokenEndpoint] = []

    def make(settings: ExchangeSettings) -> TokenEndpoint:
        made.append(TokenEndpoint(settings))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()
