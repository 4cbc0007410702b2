"""Messages between the command and its attendant."""

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
def test_requests_survive_encoding_and_parsing(request_: Request) -> None:
    assert parse_request(encode(request_)) == request_


@pytest.mark.parametrize(
    "answer",
    [Ready(1, "c", Secret("h")), Ready(1, "c", None), Impossible("why"), Failed("problem", "hint", 3)],
    ids=lambda value: type(value).__name__,
)
def test_answers_survive_encoding_and_parsing(answer: Answer) -> None:
    line = encode(answer)
    assert line.count(b"\n") == 1
    assert parse_answer(line) == answer


def test_header_is_masked_in_the_repr_of_an_answer() -> None:
    assert "h-e-a-d-e-r" not in repr(Ready(1, "c", Secret("h-e-a-d-e-r")))


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"type": "Ready", "header": "h-e-a-d-e-r"}', b'{"type": "None"}'], ids=repr
)
def test_invalid_answer_is_rejected_without_being_shown(line: bytes) -> None:
    with pytest.raises(WispError) as error:
        parse_answer(line)
    assert "h-e-a-d-e-r" not in str(error.value)
