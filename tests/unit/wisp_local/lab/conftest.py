"""Labs that are stopped at the end of the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.wisp_local.lab.lab_command import LabCommand

NewLab = Callable[..., LabCommand]


@pytest.fixture(name="new_lab")
def _new_lab(tmp_path: Path) -> Iterator[NewLab]:
    """Give a function that makes labs."""
    labs: list[LabCommand] = []
    home = tmp_path / "home"
    home.mkdir()

    def make(name: str = "a lab", **variables: str) -> LabCommand:
        labs.append(LabCommand(tmp_path / name, home, variables))
        return labs[-1]

    yield make
    for lab in labs:
        lab.run("down")


@pytest.fixture(name="running_lab", scope="module")
def _running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCommand]:
    """Give a lab that is up, to tests of a module that do not change it."""
    folder = tmp_path_factory.mktemp("running")
    (folder / "home").mkdir()
    lab = LabCommand(folder / "a lab", folder / "home")
    lab.up()
    yield lab
    lab.run("down")


@pytest.fixture(name="lab")
def _lab(new_lab: NewLab) -> LabCommand:
    """Give a lab that is not up yet."""
    return new_lab()
