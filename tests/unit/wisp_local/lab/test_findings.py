"""What is wrong with a lab, and what to do."""

import pytest

from wisp_local.lab.findings import Seen, kind_of, problems
from wisp_local.lab.record import NOTHING, Behind, Cloud, Listening, Record, Wanted

CLOUD = Cloud(7, "then", 0, Listening(("127.0.0.1",), 8443, ()), "https://127.0.0.1:8443")
UP = Record(Wanted(), CLOUD)


@pytest.mark.parametrize(
    "seen, words",
    [
        pytest.param(Seen(None), ["no lab here: `wisp lab up`"], id="none"),
        pytest.param(Seen(Record(Wanted())), ["is down: `wisp lab up`"], id="down"),
        pytest.param(Seen(UP), ["(process 7) has ended by itself: `wisp lab up`"], id="ended"),
        pytest.param(Seen(UP, runs=True), ["(process 7) runs but does not answer: `wisp lab down`"], id="silent"),
        pytest.param(Seen(UP, runs=True, answers=True), [], id="well"),
        pytest.param(Seen(UP, runs=True, answers=True, behind="it is gone: do"), ["it is gone: do"], id="behind"),
        pytest.param(Seen(UP, runs=True, behind="it is gone: do"), ["does not answer", "it is gone"], id="both"),
    ],
)
def test_problems(seen: Seen, words: list[str]) -> None:
    """Each is one line that says what to do; where all is well there is none."""
    found = problems(seen)
    assert len(found) == len(words)
    for line, each in zip(found, words, strict=True):
        assert each in line


def test_kinds() -> None:
    """As `wisp lab status` calls them."""
    assert [kind_of(each) for each in (NOTHING, Behind("/k"), Behind(own=True))] == ["none", "kubeconfig", "cluster"]
