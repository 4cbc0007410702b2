"""The fixtures. Each process of pytest-xdist runs its own session, and so has a cloud of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wisp.run.environment import LOOPBACK, for_command
from wisp.testing.cloud import Cloud, running_cloud
from wisp.testing.identity import Identity
from wisp.testing.imds import Imds, serving_imds


@pytest.fixture(scope="session")
def wisp_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud, for the whole session: Entra's token endpoint and OIDC issuers over https."""
    with running_cloud(tmp_path_factory.mktemp("wisp-cloud")) as cloud:
        yield cloud


@pytest.fixture
def wisp_identity(wisp_cloud: Cloud) -> Identity:
    """A managed identity of this test's own, with a federated credential."""
    return wisp_cloud.identity()


@pytest.fixture
def wisp_imds(wisp_cloud: Cloud, wisp_identity: Identity, tmp_path: Path) -> Iterator[Imds]:
    """A metadata service that gives `wisp_identity`'s tokens, and has none yet."""
    with serving_imds(wisp_cloud, wisp_identity, tmp_path) as imds:
        yield imds


@pytest.fixture
def wisp_environment(wisp_imds: Imds, monkeypatch: pytest.MonkeyPatch) -> Imds:
    """`wisp_imds`, and this process' environment for the test: every Azure SDK finds it, and no other credential."""
    wanted = for_command(os.environ, wisp_imds.environment, LOOPBACK)
    for name in os.environ.keys() - wanted.keys():
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    return wisp_imds
