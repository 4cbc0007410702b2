"""docs/reference/passthrough.md matches the program."""

import re
from pathlib import Path

import pytest

from tests.support.fakes import token_request
from tests.support.paths import ROOT
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.passthrough import MARK, NAMES, SEGMENTS, ForwardedRequest, judge, response_headers
from wisp.proxy import metadata_proxy

DOCUMENT = (ROOT / "docs/reference/passthrough.md").read_text(encoding="utf-8")


def test_documented_names_match_the_program() -> None:
    """In the sidecar's order, with the method and the path that each forwards."""
    rows = re.findall(r"^\| `([\w-]+)` \| `([A-Z]+) (/metadata/\w+)`", DOCUMENT, re.MULTILINE)
    assert tuple(name for name, _, _ in rows) == NAMES
    for name, method, path in rows:
        passed = [method for method in ("GET", "HEAD", "POST", "PUT") if _passes(path, method, name)]
        assert passed == [method]


def _passes(target: str, method: str, name: str) -> bool:
    request: Request = token_request(target, method=method.encode())
    return not isinstance(judge(request, (name,)), Refusal)


@pytest.mark.parametrize(
    "sentence",
    [
        f"no connection within {metadata_proxy.CONNECT_LIMIT:g} s",
        f"no byte within {metadata_proxy.READ_LIMIT:g} s",
        f"at most {metadata_proxy.MOST} requests at a time",
        f"All requests get this response for {metadata_proxy.ABSENCE:g} s",
        f"carries `{MARK.decode()}`",
    ],
)
def test_documented_numbers_match_the_program(sentence: str) -> None:
    assert sentence in DOCUMENT


def test_documented_causes_match_the_log() -> None:
    sources = Path(metadata_proxy.__file__).read_text()
    written = set(re.findall(r'Failure\("(\w+)"', sources)) | set(re.findall(r'cause="(\w+)"', sources))
    (documented,) = re.findall(r"`cause` \(([^)]+)\)", DOCUMENT)
    assert set(re.findall(r"`(\w+)`", documented)) == written


def test_documented_headers_match_the_program() -> None:
    """In both directions."""
    sent = token_request("/metadata/instance", accept="a", content_type="b", user_agent="c", x_ms_client_request_id="d")
    forward = judge(sent, SEGMENTS)
    assert isinstance(forward, ForwardedRequest)
    gone = set(re.findall(r"^([\w-]+):", forward.headers.decode(), re.MULTILINE)) - {"metadata", MARK.decode()}
    (to_the_node,) = re.findall(r"of the client's headers (.+)\. Of the answer's headers", " ".join(DOCUMENT.split()))
    assert {name.lower() for name in re.findall(r"`([\w-]+)`", to_the_node)} == gone
    (to_the_client,) = re.findall(r"Of the\sanswer's headers the client gets (.+?)\.\n", DOCUMENT, re.DOTALL)
    names = [name.lower() for name in re.findall(r"`([\w*-]+)`", to_the_client)]
    lines = response_headers([(name.replace("*", "x").encode(), b"y") for name in names])
    assert lines.count(b"\r\n") == len(names) == 6
