"""Fixtures of the sidecar's tests."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.unit.wisp.proxy.sidecar import Pod, Sidecar, pod, running


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Return an authority that grants tokens until the test changes that."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def own_pod(tmp_path: Path, authority: Authority) -> Pod:
    """Return a pod that uses the authority."""
    return pod(tmp_path, authority.url)


@pytest.fixture
def sidecar(own_pod: Pod, authority: Authority) -> Generator[Sidecar]:
    """Return a running sidecar in the pod."""
    with running(own_pod, "--authority-ca", str(authority.ca_file)) as sidecar:
        yield sidecar
