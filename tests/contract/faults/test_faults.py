"""Clients while Entra, the network or the assertion is broken; docs/reference/faults.md is the record."""

from pathlib import Path

import pytest

from tests.contract.faults.catalogue import FAULTS, GROUPS, Fault
from tests.contract.faults.experience import CROWD, Experience, Experiences, experiences
from tests.contract.faults.table import LONGEST_WAIT, committed, row, seconds
from wisp.entra.freshness import EVENTUAL_WINDOW

EXACT = (0, 1, 2)
"""The cells that are the same on every machine; so is the number of calls, but for `_expected`."""
WHY = {
    "connection refused": "the connection was refused",
    "`--authority-ca` was replaced by another CA": "trust its authority by --authority-ca",
    "no response": "it did not answer in time",
    "three bytes per second": "did not answer in 9 s",
    "the proxy does not answer": "(HTTPS_PROXY): it did not answer in time",
}
"""What the text says of the faults that no other test has."""


def test_table_lists_every_fault_once() -> None:
    assert list(committed()) == [fault.name for fault in FAULTS]
    assert len(FAULTS) == len({fault.name for fault in FAULTS})


def test_table_meets_the_documented_limits() -> None:
    """Nobody waits over twelve seconds, every fault ends without a restart, and a 429 stays a 429."""
    for name, cells in committed().items():
        assert seconds(cells[3]) <= LONGEST_WAIT, name
        assert seconds(cells[5]) <= LONGEST_WAIT, name
        assert cells[1].startswith("429 ") == name.startswith("429"), name
        assert bool(cells[2]) == cells[1].startswith(("429 ", "503 ")), name


@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
def test_fault_matches_its_row(group: str, tmp_path: Path) -> None:
    """The answer to one client and the number of calls match the table; a hundred clients get the same."""
    came = experiences(GROUPS[group], tmp_path)
    assert {fault.name: _differences(fault, came[fault.name]) for fault in GROUPS[group]} == {
        fault.name: [] for fault in GROUPS[group]
    }


def _differences(fault: Fault, came: Experiences) -> list[str]:
    """Return how an experience differs from the table."""
    measured, known = row(fault, came), committed()[fault.name]
    found = [f"{measured[i]} instead of {known[i]}" for i in EXACT if measured[i] != known[i]]
    first, again = came.one.answers
    error = first.document.get("error_description", "")
    if WHY.get(fault.name, "") not in error:
        found.append(f"the text is {error}")
    if again.status != first.status:
        found.append(f"a second request gets {again.status}")
    crowd = {(answer.status, answer.document.get("error")) for answer in came.crowd.answers}
    if len(came.crowd.answers) != CROWD or crowd != {(first.status, first.document.get("error"))}:
        found.append(f"{len(came.crowd.answers)} of {CROWD} got {crowd}")
    calls = int(known[4])
    found += [
        f"{experience.calls} calls"
        for experience in (came.one, came.crowd)
        if experience.calls not in _expected(calls, experience)
    ]
    return found


def _expected(calls: int, came: Experience) -> range:
    """Return how many calls may come of a fault for which the table has `calls`.

    A code that may pass is tried again until `EVENTUAL_WINDOW` seconds are over, in which a busy machine manages fewer.
    """
    may_pass = came.answers[0].document.get("error_description", "").startswith(("AADSTS700213", "AADSTS70025"))
    return range(1 if may_pass and came.waited > EVENTUAL_WINDOW else calls, calls + 1)
