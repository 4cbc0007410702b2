"""Responses as they are sent, and their Date header."""

import h11
import pytest

from wisp.http.messages import JSON, TEXT, Response, encode
from wisp.http.peer import HttpDate

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_response_bytes() -> None:
    """Status, type, length, date, further headers, body."""
    response = Response(200, b'{"a":1}', headers=b"X-A: b\r\n")
    assert encode(response, DATE) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 7\r\n"
        b'Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-A: b\r\n\r\n{"a":1}'
    )


@pytest.mark.parametrize(
    "keep_alive, http_1_0, expected",
    [(True, False, []), (True, True, [b"keep-alive"]), (False, False, [b"close"]), (False, True, [b"close"])],
    ids=["goes on", "goes on in HTTP/1.0", "ends", "ends in HTTP/1.0"],
)
def test_connection_header_is_sent_only_if_needed(*, keep_alive: bool, http_1_0: bool, expected: list[bytes]) -> None:
    """It says what the client would not assume from the version (RFC 9112 §9.3)."""
    data = encode(Response(200, b""), DATE, keep_alive=keep_alive, http_1_0=http_1_0)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.receive_data(data)
    head = client.next_event()
    assert isinstance(head, h11.Response)
    assert [value for name, value in head.headers if name == b"connection"] == expected


def test_head_response_has_the_length_but_no_body() -> None:
    """RFC 9110 §9.3.2."""
    data = encode(Response(200, b"abc", TEXT), DATE, head=True)
    assert data.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 3\r\n" in data


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 408, 413, 414, 417, 429, 431, 501, 503, 505], ids=str)
def test_every_status_sent_by_wisp_has_a_reason_phrase(status: int) -> None:
    assert b"Unknown" not in encode(Response(status, b"", JSON), DATE)


def test_status_without_a_known_phrase_gives_a_well_formed_response() -> None:
    assert encode(Response(418, b""), DATE).startswith(b"HTTP/1.1 418 Unknown\r\n")


def test_date_header_follows_the_clock() -> None:
    """It has the form of RFC 9110 §5.6.7 and changes every second."""
    moments = [784111777.0, 784111777.9, 784111778.0]
    date = HttpDate(lambda: moments[0])
    assert date.at(5000.0) == DATE
    moments.pop(0)
    assert date.at(5000.9) is date.at(5000.0)
    moments.pop(0)
    assert date.at(5001.0) == b"Sun, 06 Nov 1994 08:49:38 GMT"
