"""The witness sees every failure of genuine traffic, and attackers' answers are named."""

import json
from collections import Counter

import pytest

from tests.siege.attacker import Answer, outcome_of
from tests.siege.witness import Act, witnessing
from tests.support.waiting import wait_until


def test_every_failure_is_recorded_with_its_reason() -> None:
    """The other acts continue."""

    def fail() -> None:
        raise TimeoutError("no answer")

    with witnessing([Act("good", lambda: None), Act("bad", fail)]) as witness:
        wait_until(lambda: witness.succeeded["good"] >= 2 and witness.failures)
        assert witness.has_seen(Counter(), 1000), "there is nothing to wait for any more"
    assert witness.failures[0] == "bad: TimeoutError: no answer"
    assert witness.succeeded["bad"] == 0


def test_round_ends_when_the_slowest_act_has_succeeded() -> None:
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
def test_outcome_of_a_review_is_its_decision_not_its_status(answer: Answer, outcome: str) -> None:
    assert outcome_of(answer) == outcome
