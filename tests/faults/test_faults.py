"""What clients live through while Entra, the way to it or the assertion is broken: docs/faults.md is the record."""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.experience import CROWD, LONGEST_WAIT, Experience, experiences
from tests.faults.table import committed, row, seconds

EXACT = (0, 1, 2, 4)
BUSY = 1.0
"""Seconds that a machine may take for itself while eight sidecars and their clients share it."""


def test_every_fault_is_in_the_table() -> None:
    """Once, and no other is."""
    assert list(committed()) == [fault.name for fault in FAULTS]
    assert len(FAULTS) == len({fault.name for fault in FAULTS})


def test_the_table_keeps_its_promise() -> None:
    """Nobody waits over twelve seconds, everything is well again by itself, and a 429 stays a 429."""
    for name, cells in committed().items():
        assert seconds(cells[3]) <= LONGEST_WAIT, name
        assert seconds(cells[5]) <= LONGEST_WAIT, name
        assert cells[1].startswith("429 ") == name.startswith("429"), name
        assert bool(cells[2]) == cells[1].startswith(("429 ", "503 ")), name


@pytest.fixture(name="came", scope="module")
def _came(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Experience]]:
    """Put sidecars to every fault, several at a time."""
    return experiences(FAULTS, tmp_path_factory.mktemp("faults"))


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault(came: Mapping[str, Future[Experience]], fault: Fault) -> None:
    """What one client hears, when, and for how many calls is what the table says; a hundred hear the same."""
    result = came[fault.name].result()
    measured, known = row(fault, result), committed()[fault.name]
    assert [measured[i] for i in EXACT] == [known[i] for i in EXACT]
    assert max(result.waited, result.crowd_waited) <= min(seconds(known[3]) + BUSY, LONGEST_WAIT)
    assert result.recovered <= seconds(known[5]) + BUSY
    heard = {(each.status, each.document.get("error")) for each in result.crowd}
    assert (len(result.crowd), heard) == (CROWD, {(result.heard.status, result.heard.document.get("error"))})
    assert result.crowd_calls == result.calls
