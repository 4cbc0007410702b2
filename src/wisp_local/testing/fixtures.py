"""The fixtures. Each process of pytest-xdist runs its own session, and so has a cloud of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wisp_local.run.environment import LOOPBACK, for_command
from wisp_local.testing.cloud import Cloud, running_cloud
from wisp_local.testing.identity import Identity
from wisp_local.testing.imds import Imds, serving_imds


@pytest.fixture(scope="session")
def wisp_seed() -> Path | None:
    """Return the seed file of `wisp_cloud`: none, unless a project overrides this fixture with its own."""
    return None


@pytest.fixture(scope="session")
def wisp_cloud(tmp_path_factory: pytest.TempPathFactory, wisp_seed: Path | None) -> Iterator[Cloud]:
    """Run a local cloud for the whole session: Entra's token endpoint and OIDC issuers over https."""
    flags = () if wisp_seed is None else ("--seed", str(wisp_seed))
    with running_cloud(tmp_path_factory.mktemp("wisp-cloud"), *flags) as cloud:
        yield cloud


@pytest.fixture
def wisp_identity(wisp_cloud: Cloud) -> Identity:
    """Make a managed identity of this test's own, with a federated credential."""
    return wisp_cloud.identity()


@pytest.fixture
def wisp_imds(wisp_cloud: Cloud, wisp_identity: Identity, tmp_path: Path) -> Iterator[Imds]:
    """Run a metadata service that gives `wisp_identity`'s tokens, and has none yet."""
    with serving_imds(wisp_cloud, wisp_identity, tmp_path) as imds:
        yield imds


@pytest.fixture
def wisp_environment(wisp_imds: Imds, monkeypatch: pytest.MonkeyPatch) -> Imds:
    """Put `wisp_imds` into the environment: for the test, every Azure SDK finds it, and no other credential."""
    wanted = for_command(os.environ, wisp_imds.environment, LOOPBACK)
    for name in os.environ.keys() - wanted.keys():
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    return wisp_imds
