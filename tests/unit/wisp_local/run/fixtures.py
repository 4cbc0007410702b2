"""Fixtures of the tests of runs, here and in tests/system."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.unit.wisp_local.run.runner import Runner, runner


@pytest.fixture(name="runner")
def runner_fixture(tmp_path: Path) -> Iterator[Runner]:
    """Return a runner; afterwards none of its processes may be running."""
    made = runner(tmp_path)
    yield made
    wait_until(lambda: made.serving() == [])
