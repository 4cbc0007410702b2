"""A small API server, and the configuration of its clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.wisp.kubernetes import apiserver
from wisp.kubernetes.config import ApiServer, from_kubeconfig


@pytest.fixture(name="server")
def _server() -> Iterator[apiserver.ApiServer]:
    with apiserver.running() as server:
        yield server


@pytest.fixture(name="config")
def _config(server: apiserver.ApiServer, tmp_path: Path) -> ApiServer:
    return from_kubeconfig(server.write_kubeconfig(tmp_path / "kubeconfig"))
