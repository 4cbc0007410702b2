"""The projected token."""

from pathlib import Path

import pytest

from wisp.base.secret import Secret
from wisp_local.demo.stage import project


def test_the_token_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 0600 in folders that anyone may pass through, at the path that the webhook names."""
    file = tmp_path / "var/run/secrets/azure/wi/token/azure-identity-token"
    project(Secret("assertion"), file, owner=None)
    assert file.read_text(encoding="ascii") == "assertion"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o111 == 0o111


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there already is somebody's."""
    file = tmp_path / "token/azure-identity-token"
    project(Secret("first"), file, owner=None)
    with pytest.raises(FileExistsError):
        project(Secret("second"), file, owner=None)
