"""The audit log: a line for every grant and refusal, without tokens, that neither blocks nor grows."""

import json
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.gateway.token_requests import ASSERTION, CLIENT_ID, CORRELATION_ID, SCOPE, TENANT
from wisp.base.secret import Secret
from wisp.gateway.audit import AuditedRequest, AuditLog
from wisp.gateway.types import Caller, TokenForm, TokenRefusal

UNIX = 1_700_000_000.25
FORM = TokenForm(TENANT, CLIENT_ID, SCOPE, "", Secret(ASSERTION), CORRELATION_ID)
CALLER = Caller("system:serviceaccount:shop:api", "u-1", ("g",), (), "shop", "api", "api-7d9f", "p-1", "node-1")
REQUEST = AuditedRequest("10.0.0.7", CORRELATION_ID, FORM, CALLER)
_LONG = "\0" * 1_000
TOO_LONG = Caller(_LONG, _LONG, (), (), _LONG, _LONG, _LONG)
REFUSAL = TokenRefusal("invalid_request", 400, "invalid_scope", "AADSTS70011: No.", 70011)
GRANTED = {
    "time": "2023-11-14T22:13:20.250Z",
    "event": "token granted",
    "result": "granted",
    "namespace": "shop",
    "serviceAccount": "api",
    "pod": "api-7d9f",
    "podUid": "p-1",
    "node": "node-1",
    "user": "system:serviceaccount:shop:api",
    "clientId": CLIENT_ID,
    "tenant": TENANT,
    "scope": SCOPE,
    "correlationId": CORRELATION_ID,
    "source": "10.0.0.7",
}


class Turns:
    """An event loop that runs when the test says so; notes the pauses."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._due: list[Callable[[], None]] = []

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` in the next turn."""
        self.pauses.append(seconds)
        self._due.append(function)

    def turn(self) -> int:
        """Run one turn; return how many functions were called."""
        due, self._due = self._due, []
        for function in due:
            function()
        return len(due)


class Reader:
    """The audit log's pipe and its reader."""

    def __init__(self) -> None:
        self.end, self.descriptor = os.pipe()
        os.set_blocking(self.end, False)
        self.turns = Turns()
        self.unix = UNIX
        self.log = AuditLog(self.turns.later, self.descriptor, lambda: self.unix)

    def text(self) -> bytes:
        """Take what has arrived."""
        pieces = []
        while select.select([self.end], [], [], 0)[0] and (piece := os.read(self.end, 65_536)):
            pieces.append(piece)
        return b"".join(pieces)

    def lines(self) -> list[dict[str, Any]]:
        """Take the lines that have arrived."""
        return [json.loads(line) for line in self.text().splitlines()]

    def go(self) -> None:
        """Close the reading end."""
        os.close(self.end)
        self.end = -1

    def close(self) -> None:
        """Close both ends."""
        for descriptor in (self.end, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Return a new audit log and its reader."""
    reader = Reader()
    yield reader
    reader.close()


def test_grant_says_who_got_a_token_for_which_identity(reader: Reader) -> None:
    reader.log.granted(REQUEST)
    reader.turns.turn()
    assert reader.lines() == [GRANTED]


def test_refusal_says_why(reader: Reader) -> None:
    reader.log.refused(REQUEST, REFUSAL)
    reader.turns.turn()
    refused = {"event": "token refused", "result": "invalid_request", "status": 400, "code": 70011}
    assert reader.lines() == [{**GRANTED, **refused, "reason": "AADSTS70011: No."}]


def test_identity_of_an_unauthenticated_caller_is_empty(reader: Reader) -> None:
    """What it claims to be is not in the line, and neither is a form that could not be read."""
    refusal = TokenRefusal("unauthenticated", 401, "invalid_client", "wisp gateway: it has expired")
    reader.log.refused(AuditedRequest("10.0.0.7", CORRELATION_ID, FORM), refusal)
    reader.log.refused(AuditedRequest("10.0.0.7", CORRELATION_ID), REFUSAL)
    reader.turns.turn()
    first, second = reader.lines()
    names = ("namespace", "serviceAccount", "pod", "podUid", "node", "user")
    assert [first[name] for name in (*names, "clientId")] == ["", "", "", "", "", "", CLIENT_ID]
    assert [second[name] for name in (*names, "clientId", "tenant", "scope")] == [""] * 9
    assert first["code"] is None


def test_lines_of_one_turn_are_written_together(reader: Reader) -> None:
    """In order, in the next turn of the loop."""
    for number in range(5):
        reader.log.granted(REQUEST._replace(source=str(number)))
    assert reader.text() == b""
    assert reader.turns.pauses == [0.0]
    assert reader.turns.turn() == 1
    assert [line["source"] for line in reader.lines()] == ["0", "1", "2", "3", "4"]
    assert reader.turns.turn() == 0


def test_no_token_is_written(reader: Reader) -> None:
    """Wherever it comes from."""
    refusal = REFUSAL._replace(description=f"Entra says: {ASSERTION} and {ASSERTION}")
    reader.log.refused(REQUEST, refusal)
    reader.log.granted(REQUEST)
    reader.log.granted(REQUEST._replace(form=FORM._replace(scope=f"{ASSERTION}/.default")))
    reader.turns.turn()
    text = reader.text()
    assert b"Entra says: *** and ***" in text
    assert b'"scope":"***/.default"' in text
    assert ASSERTION[:30].encode() not in text


def test_slow_reader_costs_lines_that_are_counted(reader: Reader) -> None:
    """The process does not wait, and holds a megabyte of lines at most."""
    for _ in range(4_000):
        reader.log.granted(REQUEST)
        reader.turns.turn()
    assert reader.log.lost > 1_000
    read = []
    while reader.turns.turn():
        read += reader.lines()
    assert len(read) + reader.log.lost == 4_000
    assert reader.turns.pauses[-1] > 0
    reader.log.granted(REQUEST)
    reader.log.granted(REQUEST)
    reader.turns.turn()
    after = reader.lines()
    assert after == [{**GRANTED, "lost": reader.log.lost}, GRANTED]
    assert all(line == GRANTED for line in read)


def test_lines_behind_a_slow_reader_have_their_own_time(reader: Reader) -> None:
    for _ in range(1_000):
        reader.log.granted(REQUEST)
    reader.turns.turn()
    reader.unix += 60
    reader.log.granted(REQUEST)
    read = []
    while reader.turns.turn():
        read += reader.lines()
    assert {line["time"] for line in read[:1_000]} == {"2023-11-14T22:13:20.250Z"}
    assert [line["time"] for line in read[1_000:]] == ["2023-11-14T22:14:20.250Z"]


def test_refusals_cost_no_grant_its_line(reader: Reader) -> None:
    """Anybody can cause more of them than the reader takes."""
    for _ in range(4_000):
        reader.log.refused(AuditedRequest("10.0.0.7", CORRELATION_ID), REFUSAL)
    lost = reader.log.lost
    for _ in range(100):
        reader.log.granted(REQUEST)
    assert reader.log.lost == lost > 0
    read = []
    while reader.turns.turn():
        read += reader.lines()
    assert [line["result"] for line in read[-100:]] == ["granted"] * 100


def test_quick_reader_gets_every_line(reader: Reader) -> None:
    """Even if one turn has more than a pipe holds."""
    for _ in range(1_000):
        reader.log.granted(REQUEST)
    count = 0
    while reader.turns.turn():
        count += len(reader.lines())
    assert (count, reader.log.lost) == (1_000, 0)


def test_full_pipe_that_others_made_non_blocking_costs_nothing(reader: Reader) -> None:
    """Neither a line nor a part of one."""
    os.set_blocking(reader.descriptor, False)
    for _ in range(1_000):
        reader.log.granted(REQUEST)
    count = 0
    while reader.turns.turn():
        count += len(reader.lines())
    assert (count, reader.log.lost) == (1_000, 0)


def test_process_goes_on_without_a_reader(reader: Reader) -> None:
    """All lines are lost, at once."""
    reader.go()
    for _ in range(10):
        reader.log.granted(REQUEST)
    assert reader.turns.turn() == 1
    assert reader.log.lost == 10
    assert reader.turns.turn() == 0


def test_lines_are_written_to_a_file(tmp_path: Path) -> None:
    """At once, however many."""
    turns = Turns()
    with (tmp_path / "audit").open("wb") as file:
        log = AuditLog(turns.later, file.fileno(), lambda: UNIX)
        for _ in range(1_000):
            log.granted(REQUEST)
        turns.turn()
    assert (tmp_path / "audit").read_bytes().count(b"\n") == 1_000


def test_lines_are_flushed_at_the_end(reader: Reader) -> None:
    """As many as the reader takes in time."""
    reader.log.granted(REQUEST)
    reader.log.flush(1.0)
    assert reader.lines() == [GRANTED]
    for _ in range(1_000):
        reader.log.granted(REQUEST)
    reader.log.flush(0.0)
    assert 50 < len(reader.lines()) < 1_000


def test_long_reason_of_wide_characters_is_cut(reader: Reader) -> None:
    """A pipe takes 4,096 bytes whole."""
    reader.log.refused(REQUEST, REFUSAL._replace(description="\U0001f600" * 2_000))
    reader.turns.turn()
    text = reader.text()
    assert len(text) <= select.PIPE_BUF
    assert json.loads(text)["reason"].strip("\U0001f600") == ""
    assert reader.log.lost == 0


def test_line_that_cannot_be_short_enough_is_lost(reader: Reader) -> None:
    """No API server has such names."""
    reader.log.granted(REQUEST._replace(caller=TOO_LONG))
    assert reader.turns.turn() == 0
    assert reader.log.lost == 1


TEXTS = st.text(max_size=300)
CALLERS = st.builds(Caller, TEXTS, TEXTS, st.just(()), st.just(()), TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)


@given(CALLERS, TEXTS, st.text(max_size=5_000))
def test_any_text_is_one_line(caller: Caller, scope: str, description: str) -> None:
    """Line ends and quotation marks are escaped, and long texts cut."""
    reader = Reader()
    reader.log.refused(
        AuditedRequest("::1", CORRELATION_ID, FORM._replace(scope=scope), caller),
        REFUSAL._replace(description=description),
    )
    reader.turns.turn()
    text = reader.text()
    reader.close()
    if not reader.log.lost:
        assert text.count(b"\n") == 1
        assert text.isascii()
        assert len(text) <= select.PIPE_BUF
        line = json.loads(text)
        assert line["scope"] == scope[:256]
        assert line["pod"] == caller.pod[:256]


@given(CALLERS, TEXTS, st.integers(0, 2))
def test_line_of_a_grant_is_the_same_when_it_is_repeated(caller: Caller, scope: str, lost: int) -> None:
    """It is put together from parts, whatever the names in it, also when it says how many lines were lost."""
    reader = Reader()
    for _ in range(lost):
        reader.log.granted(REQUEST._replace(caller=TOO_LONG))
    line = reader.log.grant_line(REQUEST._replace(form=FORM._replace(scope=scope), caller=caller))
    reader.log.granted_again(line, CLIENT_ID)
    reader.turns.turn()
    lines = reader.lines()
    reader.close()
    if reader.log.lost == lost:
        (found,) = lines
        assert list(found)[:14] == list(GRANTED)
        assert found["correlationId"] == CLIENT_ID
        assert found["scope"] == scope[:256]
        assert found["user"] == caller.username[:256]
        assert found.get("lost", 0) == lost
