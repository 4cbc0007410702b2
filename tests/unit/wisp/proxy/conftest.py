"""What the sidecar's tests share."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.unit.wisp.proxy.authority import Authority
from tests.unit.wisp.proxy.sidecar import Pod, Sidecar, pod, running


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Give an Entra that grants whatever is asked for, until the test changes that."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def own_pod(tmp_path: Path, authority: Authority) -> Pod:
    """Give a pod that knows that Entra."""
    return pod(tmp_path, authority.url)


@pytest.fixture
def sidecar(own_pod: Pod, authority: Authority) -> Generator[Sidecar]:
    """Give a running sidecar in it."""
    with running(own_pod, "--authority-ca", str(authority.ca_file)) as sidecar:
        yield sidecar
