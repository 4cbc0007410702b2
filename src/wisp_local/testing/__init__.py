"""A pytest plugin: managed identity in your tests, without Azure. See docs/how-to/testing.md.

    pytest_plugins = ["wisp_local.testing"]

provides the fixtures `wisp_cloud`, `wisp_identity`, `wisp_imds` and `wisp_environment`. Without pytest, use the context
managers `running_cloud` and `serving_imds`. Each process of pytest-xdist has a session and a cloud of its own.

(PYTEST_DONT_REWRITE: there are no assertions here, and it may be imported before it is named as a plugin.)
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wisp_local.run.environment import LOOPBACK, command_environment
from wisp_local.testing.services import Cloud, Cluster, Identity, Imds, running_cloud, serving_imds

__all__ = [
    "Cloud",
    "Cluster",
    "Identity",
    "Imds",
    "running_cloud",
    "serving_imds",
    "wisp_cloud",
    "wisp_environment",
    "wisp_identity",
    "wisp_imds",
    "wisp_seed",
]


@pytest.fixture(scope="session")
def wisp_seed() -> Path | None:
    """Return the seed file of `wisp_cloud`: None unless a project overrides this fixture."""
    return None


@pytest.fixture(scope="session")
def wisp_cloud(tmp_path_factory: pytest.TempPathFactory, wisp_seed: Path | None) -> Iterator[Cloud]:
    """Run a local cloud for the whole session: Entra's token endpoint and OIDC issuers over https."""
    flags = () if wisp_seed is None else ("--seed", str(wisp_seed))
    with running_cloud(tmp_path_factory.mktemp("wisp-cloud"), *flags) as cloud:
        yield cloud


@pytest.fixture
def wisp_identity(wisp_cloud: Cloud) -> Identity:
    """Create a managed identity for this test, with a federated credential."""
    return wisp_cloud.identity()


@pytest.fixture
def wisp_imds(wisp_cloud: Cloud, wisp_identity: Identity, tmp_path: Path) -> Iterator[Imds]:
    """Run a metadata service that returns tokens of `wisp_identity`, and has none yet."""
    with serving_imds(wisp_cloud, wisp_identity, tmp_path) as imds:
        yield imds


@pytest.fixture
def wisp_environment(wisp_imds: Imds, monkeypatch: pytest.MonkeyPatch) -> Imds:
    """Set the environment so that every Azure SDK finds `wisp_imds` during the test, and no other credential."""
    environment = command_environment(os.environ, wisp_imds.environment, LOOPBACK)
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    return wisp_imds
