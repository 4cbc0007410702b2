"""Records what a client sends, and says so in a line of a table.

`python -m tests.interop.wire --write` puts what was recorded last into docs/reference/compatibility.md.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from tests.interop import document, results
from tests.interop.asking import ask, selector
from tests.interop.build import Built
from tests.interop.cells import TOKENS, Case, Cell, Route, Row, cannot, programs, sdks
from tests.interop.document import label, line, title
from tests.interop.routes import Site

TOKEN_PATH = "/metadata/identity/oauth2/token"
_MARKS = ("metadata", "x-identity-header", "secret")
_COMMON = {"host", "user-agent", "accept", "accept-encoding", "accept-language"}
_COMMON |= {"connection", "content-length", "sec-fetch-mode"}
"""Headers that every HTTP client sends as it likes."""

Sent: TypeAlias = Mapping[str, str]
"""What a client sends, by the headings of the table."""

COLUMNS = ("request", "selectors", "headers", "probes", "asked twice, sends")


@dataclass(frozen=True)
class Request:
    """A request as it came: `headers` by their names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: str

    @property
    def is_probe(self) -> bool:
        """Whether it lacks what marks a token request in every dialect."""
        return not any(name in self.headers for name in _MARKS)

    @property
    def path(self) -> str:
        """The path as sent."""
        return self.target.partition("?")[0]

    @property
    def form(self) -> str:
        """The parameters as sent, in the query or the body."""
        return self.target.partition("?")[2] or self.body

    @property
    def parameters(self) -> Sequence[str]:
        """The names of the parameters."""
        return [name for name, _ in parse_qsl(self.form, keep_blank_values=True)]


def record(row: Row, client: Built, site: Site) -> Sent:
    """Run the client twice over, once for every way to name an identity, and say what it sent."""
    requests: dict[Case, list[Request]] = {}
    for case in (each for each in TOKENS if each in row.cases and cannot(Cell(row, each)) is None):
        with site.recorder() as (place, log):
            told = {**selector(case, site.authority), **site.surroundings}
            answer = ask(client, row, place, told, "--twice")
            assert answer.ok, answer.error
            requests[case] = parse_records(log.read_text(encoding="utf-8"))
    return describe(requests)


def parse_records(text: str) -> list[Request]:
    """Read what the recorder wrote."""
    records = [json.loads(each) for each in text.splitlines()]
    return [
        Request(
            each["method"],
            each["target"],
            {name.lower(): value for name, value in each["headers"].items()},
            each["body"],
        )
        for each in records
    ]


def describe(requests: Mapping[Case, Sequence[Request]]) -> Sent:
    """Say what was sent in the words of the table."""
    probes = [each for each in requests[Case.DEFAULT] if each.is_probe]
    asked = {case: [each for each in sent if not each.is_probe] for case, sent in requests.items()}
    first = asked[Case.DEFAULT][-1]
    texts = (
        f"`{_request(first)}`",
        ", ".join(f"`{name}`" for name in _selectors({case: sent[-1] for case, sent in asked.items()})),
        ", ".join(f"`{text}`" for text in _headers(first)),
        ", ".join(dict.fromkeys(f"`{_request(each)}`" for each in probes)) or "none",
        f"{len(asked[Case.DEFAULT])}",
    )
    return dict(zip(COLUMNS, texts, strict=True))


def _request(request: Request) -> str:
    """Write the method and the parameters, those of a form in brackets; the path only where it is not the usual one."""
    path = "" if request.path == TOKEN_PATH and request.form else request.path
    parameters = f"[{request.body}]" if request.body else request.target.removeprefix(request.path)
    return f"{request.method} {path}{parameters}"


def _selectors(requests: Mapping[Case, Request]) -> Iterator[str]:
    """Give what names the identity in each case but the default."""
    usual = requests[Case.DEFAULT].parameters
    for case, request in requests.items():
        if case is not Case.DEFAULT:
            yield from (name for name in request.parameters if name not in usual)


def _headers(request: Request) -> Iterator[str]:
    """Give the headers that are not every client's, with those values that are always the same."""
    for name in sorted(request.headers.keys() - _COMMON):
        known = name in {"metadata", "content-type", "transfer-encoding"}
        yield f"{name}: {request.headers[name]}" if known else name


def tables(sent: Mapping[Row, Sent]) -> str:
    """Write the table of each route."""
    return "\n".join(_lines(sent))


def _lines(sent: Mapping[Row, Sent]) -> Iterator[str]:
    for rows in (of(route) for of in (sdks, programs) for route in Route):
        yield f"### {title(rows[0])}, as sent\n"
        yield line("client", *COLUMNS)
        yield line(*["---"] * (len(COLUMNS) + 1))
        for row in rows:
            texts = sent.get(row, dict.fromkeys(COLUMNS, "not run"))
            yield line(label(row), *(texts[column] for column in COLUMNS))
        yield ""


def said(row: Row, text: str) -> Sent:
    """Return what the document says of the row."""
    tables = document.read(text)
    return {column: tables[f"{title(row)}, as sent", label(row), column] for column in COLUMNS}


if __name__ == "__main__":
    sys.exit(document.main("wire", tables(results.sent()), sys.argv[1:]))
