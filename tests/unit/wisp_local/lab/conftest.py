"""Labs that are ended with the test, whatever became of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.wisp_local.lab.lab import Lab

NewLab = Callable[..., Lab]


@pytest.fixture(name="new_lab")
def _new_lab(tmp_path: Path) -> Iterator[NewLab]:
    """Give what makes labs."""
    made: list[Lab] = []
    home = tmp_path / "home"
    home.mkdir()

    def make(name: str = "a lab", **variables: str) -> Lab:
        made.append(Lab(tmp_path / name, home, variables))
        return made[-1]

    yield make
    for each in made:
        each.run("down")


@pytest.fixture(name="standing", scope="module")
def _standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a lab that is up, to tests of a module that only look at it."""
    folder = tmp_path_factory.mktemp("standing")
    (folder / "home").mkdir()
    lab = Lab(folder / "a lab", folder / "home")
    lab.up()
    yield lab
    lab.run("down")


@pytest.fixture(name="lab")
def _lab(new_lab: NewLab) -> Lab:
    """Give a lab that is not up yet."""
    return new_lab()
