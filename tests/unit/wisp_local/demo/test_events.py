"""Events between the two processes of the demo."""

import pytest

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.demo.events import Event, Finished, Impossible, Ready, StepDone, StepFailed, StepStarted, parse, write

EVENTS: list[Event] = [
    Ready(),
    Impossible("no\nveth"),
    StepStarted("pod"),
    StepDone("pod", 0.25, ["a", "ü"]),
    StepFailed("curl", "problem", "remedy", ["log"], 2),
    Finished(Secret("eyJ"), {"alg": "RS256"}, {"aud": "x", "xms_tcdt": 1}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_survive_writing_and_parsing(event: Event) -> None:
    line = write(event)
    assert line.count(b"\n") == 1
    assert parse(line) == event


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"eyJ.secret", b"[]", b"null", b'{"event": "Other"}', b'{"event": "Begun"}', b"\xff", b"[" * 100_000],
    ids=lambda line: repr(line[:20]),
)
def test_invalid_line_is_rejected_without_being_shown(line: bytes) -> None:
    with pytest.raises(WispError) as refused:
        parse(line)
    assert "secret" not in str(refused.value)


def test_token_is_masked_in_the_repr_of_an_event() -> None:
    assert "eyJ" not in repr(EVENTS[-1])
