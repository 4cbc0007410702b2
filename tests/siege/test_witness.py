"""The witness sees every failure of genuine traffic, and the attackers' answers have names."""

import json
from collections import Counter

import pytest

from tests.siege.attacker import Answer, outcome_of
from tests.siege.witness import Act, witnessing
from tests.support.waiting import wait_until


def test_every_failure_is_kept_with_its_reason() -> None:
    """The others go on."""

    def fail() -> None:
        raise TimeoutError("no answer")

    with witnessing([Act("good", lambda: None), Act("bad", fail)]) as witness:
        wait_until(lambda: witness.succeeded["good"] >= 2 and witness.failures)
        assert witness.has_seen(Counter(), 1000), "there is nothing to wait for any more"
    assert witness.failures[0] == "bad: TimeoutError: no answer"
    assert witness.succeeded["bad"] == 0


def test_rounds_are_those_of_the_slowest_act() -> None:
    """A round is over when each act has succeeded."""
    slow = iter([None])
    with witnessing([Act("quick", lambda: None), Act("slow", lambda: next(slow, None))]) as witness:
        since = witness.succeeded.copy()
        wait_until(lambda: witness.has_seen(since, 2))
        assert all(witness.succeeded[kind] >= since[kind] + 2 for kind in ("quick", "slow"))
    assert not witness.failures


def _review(*, allowed: bool) -> bytes:
    return json.dumps({"kind": "AdmissionReview", "response": {"uid": "u", "allowed": allowed}}).encode()


@pytest.mark.parametrize(
    "answer, outcome",
    [
        (Answer(200, _review(allowed=True)), "admitted"),
        (Answer(200, _review(allowed=False)), "refused"),
        (Answer(200, b'{"access_token": "x"}'), "200"),
        (Answer(413, b"wisp: too large\n"), "413"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_outcomes(answer: Answer, outcome: str) -> None:
    """The answer to a review is distinguished from its status."""
    assert outcome_of(answer) == outcome
