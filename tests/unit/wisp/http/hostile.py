"""Requests that another server could read differently, or that no server should accept, with their answers."""

from typing import NamedTuple

from tests.unit.wisp.http.wire import GET, POST

_CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
_EMPTY = b"\r\n0\r\n\r\n"


class Hostile(NamedTuple):
    """Bytes that are answered with `status` and end the connection."""

    status: int
    data: bytes


FRAMING = {
    "transfer-encoding and content-length": Hostile(
        400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" + _EMPTY
    ),
    "content-length and transfer-encoding": Hostile(
        400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + _EMPTY
    ),
    "chunked twice": Hostile(400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + _EMPTY),
    "chunked, then identity": Hostile(
        400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + _EMPTY
    ),
    "identity, then chunked": Hostile(
        501, POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n" + _EMPTY
    ),
    "gzip, chunked": Hostile(501, POST + b"Transfer-Encoding: gzip, chunked\r\n" + _EMPTY),
    "a coding like chunked": Hostile(400, POST + b"Transfer-Encoding: xchunked\r\n" + _EMPTY),
    "chunked after a vertical tab": Hostile(400, POST + b"Transfer-Encoding: \x0bchunked\r\n" + _EMPTY),
    "chunked and a comma": Hostile(400, POST + b"Transfer-Encoding: chunked,\r\n" + _EMPTY),
    "chunked in quotes": Hostile(400, POST + b'Transfer-Encoding: "chunked"\r\n' + _EMPTY),
    "no coding": Hostile(400, POST + b"Transfer-Encoding:\r\n" + _EMPTY),
    "chunked on a folded line": Hostile(400, POST + b"Transfer-Encoding:\r\n chunked\r\n" + _EMPTY),
    "transfer-encoding, a space, colon": Hostile(400, POST + b"Transfer-Encoding : chunked\r\n" + _EMPTY),
    "chunked in HTTP/1.0": Hostile(400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + _EMPTY),
    "chunked in HTTP/1.0 kept alive": Hostile(
        400, b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n" + _EMPTY
    ),
    "content-length twice, equal": Hostile(400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "content-length twice, unequal": Hostile(400, POST + b"Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc"),
    "content-length, a space, colon": Hostile(400, POST + b"Content-Length : 3\r\n\r\nabc"),
    **{
        f"content-length {value!r}": Hostile(400, POST + b"Content-Length: " + value + b"\r\n\r\nabc")
        for value in (b"", b"+3", b"-3", b"3,3", b"3, 3", b"0x3", b"3_0", b"3 3", b"3;", b"1e1", b"\xb2", b"3\0")
    },
    "content-length beyond 64 bits": Hostile(400, POST + b"Content-Length: 18446744073709551619\r\n\r\nabc"),
    "a body too large": Hostile(413, POST + b"Content-Length: 65537\r\n\r\nabc"),
}

HEADS = {
    "two hosts": Hostile(400, GET + b"Host: y\r\n\r\n"),
    "two hosts, equal": Hostile(400, GET + b"Host: x\r\n\r\n"),
    "no host": Hostile(400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts in HTTP/1.0": Hostile(400, b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n"),
    "a folded value": Hostile(400, GET + b"X: a\r\n b\r\n\r\n"),
    "a value folded with a tab": Hostile(400, GET + b"X: a\r\n\tb\r\n\r\n"),
    "a space before the first header": Hostile(400, b"GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    "a space before the colon": Hostile(400, GET + b"Metadata : true\r\n\r\n"),
    "a tab before the colon": Hostile(400, GET + b"Metadata\t: true\r\n\r\n"),
    "no colon": Hostile(400, GET + b"Metadata\r\n\r\n"),
    "no name": Hostile(400, GET + b": x\r\n\r\n"),
    **{
        f"{byte!r} in a name": Hostile(400, GET + b"Meta" + byte + b"data: true\r\n\r\n")
        for byte in (b"\0", b"\x01", b'"', b"(", b"/", b"@", b"{", b"\x7f", b"\xe9")
    },
    **{
        f"{byte!r} in a value": Hostile(400, GET + b"Metadata: tr" + byte + b"ue\r\n\r\n")
        for byte in (b"\0", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\r", b"\x1b", b"\x7f")
    },
    "CR before CRLF": Hostile(400, GET + b"X: a\r\r\n\r\n"),
    "bare LF everywhere": Hostile(400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "bare LF after the request line": Hostile(400, b"GET / HTTP/1.1\nHost: x\r\n\r\n"),
    "bare LF after a header": Hostile(400, b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"),
    "bare LF at the end": Hostile(400, b"GET / HTTP/1.1\r\nHost: x\r\n\n"),
    "a leading LF": Hostile(400, b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a leading CR": Hostile(400, b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a leading space": Hostile(400, b" GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "two spaces": Hostile(400, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a tab instead of a space": Hostile(400, b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a space after the version": Hostile(400, b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    **{
        f"{byte!r} in the target": Hostile(400, b"GET /a" + byte + b"b HTTP/1.1\r\nHost: x\r\n\r\n")
        for byte in (b" ", b"\0", b"\t", b"\r", b"\x0b", b"\x7f", b"\xe9")
    },
    "a target without a slash": Hostile(400, b"GET metadata HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HTTP/0.9": Hostile(400, b"GET /\r\n\r\n"),
    "HTTP/0.9 with a version": Hostile(505, b"GET / HTTP/0.9\r\n\r\n"),
    "HTTP/1.2": Hostile(505, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    "HTTP/2's preface": Hostile(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "http in lower case": Hostile(505, b"GET / http/1.1\r\nHost: x\r\n\r\n"),
    "another protocol": Hostile(505, b"SOURCE / ICE/1.0\r\nHost: x\r\n\r\n"),
    "a method in lower case": Hostile(405, b"get / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an unknown method": Hostile(405, b"TOKEN / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "more than 100 headers": Hostile(431, GET + b"X: y\r\n" * 100 + b"\r\n"),
    "TLS": Hostile(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + b"\r\n\r\n"),
    "another expectation": Hostile(417, POST + b"Expect: 200-ok\r\nContent-Length: 3\r\n\r\n"),
}

CHUNKS = {
    repr(body): Hostile(400, _CHUNKED + body)
    for body in (
        b"\r\n",
        b"g\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3_0\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3 ;a\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\rabc\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nab\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nabc\r\n",
        b"3;a\nabc\r\n0\r\n\r\n",
        b"3;a\r\r\nabc\r\n0\r\n\r\n",
        b"3;\0\r\nabc\r\n0\r\n\r\n",
        b'3;a="b\r\nabc\r\n0\r\n\r\n',
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\nT\r\n\r\n",
        b"0\r\nT : x\r\n\r\n",
        b"0\r\n T: x\r\n\r\n",
        b"0\r\nT: a\r\n b\r\n\r\n",
        b"0\r\nT: a\0\r\n\r\n",
        b"0\r\nT: a\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
    )
}

EVERY_HEAD = {**FRAMING, **HEADS}
ALL = {**EVERY_HEAD, **CHUNKS}
