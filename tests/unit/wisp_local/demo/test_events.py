"""What the two halves of the lab tell each other."""

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
def test_what_is_written_is_read(event: Event) -> None:
    """Every event survives the pipe, as one line."""
    line = write(event)
    assert line.count(b"\n") == 1
    assert parse(line) == event


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"eyJ.secret", b"[]", b"null", b'{"event": "Other"}', b'{"event": "Begun"}', b"\xff", b"[" * 100_000],
    ids=lambda line: repr(line[:20]),
)
def test_what_is_not_an_event_is_refused_without_being_shown(line: bytes) -> None:
    """The content of a bad line, which may be a token, is in no error."""
    with pytest.raises(WispError) as refused:
        parse(line)
    assert "secret" not in str(refused.value)


def test_the_token_does_not_show_itself() -> None:
    """An event in a traceback has no token in it."""
    assert "eyJ" not in repr(EVENTS[-1])
