"""What the two processes say to each other."""

from pathlib import Path

import pytest

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.run.messages import Answer, Failed, Impossible, Ready, Request, encode, parse_answer, parse_request
from wisp_local.run.options import LocalCloud, RealAuthority
from wisp_local.sandbox.modes import Attempt, Mode

REAL = RealAuthority("https://a/", "t", "c", Path("/token"), Path("/ca"))


@pytest.mark.parametrize(
    "request_",
    [
        Request(LocalCloud(None, "app", None, 600)),
        Request(LocalCloud(Path("/state"), "app", "c", 600), Attempt(Mode.USERNS, several_users=False)),
        Request(REAL),
    ],
    ids=["local", "in namespaces", "real"],
)
def test_a_request_comes_as_it_was_sent(request_: Request) -> None:
    """Paths are paths again."""
    assert parse_request(encode(request_)) == request_


@pytest.mark.parametrize(
    "answer",
    [Ready(1, "c", Secret("h")), Ready(1, "c", None), Impossible("why"), Failed("problem", "hint", 3)],
    ids=lambda value: type(value).__name__,
)
def test_an_answer_comes_as_it_was_sent(answer: Answer) -> None:
    """The header is a secret again."""
    line = encode(answer)
    assert line.count(b"\n") == 1
    assert parse_answer(line) == answer


def test_the_header_does_not_show_itself() -> None:
    """Not even where an answer is printed."""
    assert "h-e-a-d-e-r" not in repr(Ready(1, "c", Secret("h-e-a-d-e-r")))


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"type": "Ready", "header": "h-e-a-d-e-r"}', b'{"type": "None"}'], ids=repr
)
def test_nonsense(line: bytes) -> None:
    """The error does not repeat it."""
    with pytest.raises(WispError) as error:
        parse_answer(line)
    assert "h-e-a-d-e-r" not in str(error.value)
