"""Records the requests of a client, and describes them in a line of a table.

`python -m tests.interop.wire --write` writes the last results into docs/reference/compatibility.md.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from tests.interop import document, results
from tests.interop.build import Built
from tests.interop.cells import TOKENS, Case, Cell, Route, Row, impossible_reason, programs, sdks
from tests.interop.client_run import run_client, selector
from tests.interop.document import label, line, title
from tests.interop.routes import Setup

TOKEN_PATH = "/metadata/identity/oauth2/token"
_MARKS = ("metadata", "x-identity-header", "secret")
_COMMON = {"host", "user-agent", "accept", "accept-encoding", "accept-language"}
_COMMON |= {"connection", "content-length", "sec-fetch-mode"}
"""Headers that depend on the HTTP client."""

SentRequests: TypeAlias = Mapping[str, str]
"""The requests of a client, by the headings of the table."""

COLUMNS = ("request", "selectors", "headers", "probes", "requests for two tokens")


@dataclass(frozen=True)
class Request:
    """A received request: `headers` by their names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: str

    @property
    def is_probe(self) -> bool:
        """Whether it lacks the headers that mark a token request in any dialect."""
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


def record(row: Row, client: Built, setup: Setup) -> SentRequests:
    """Run the client, which asks twice, for every way to select an identity; return what it sent."""
    requests: dict[Case, list[Request]] = {}
    for case in (case for case in TOKENS if case in row.cases and impossible_reason(Cell(row, case)) is None):
        with setup.recorder() as (place, log):
            variables = {**selector(case, setup.authority), **setup.client_variables}
            answer = run_client(client, row, place, variables, "--twice")
            assert answer.ok, answer.error
            requests[case] = parse_records(log.read_text(encoding="utf-8"))
    return describe(requests)


def parse_records(text: str) -> list[Request]:
    """Read the log of the recorder."""
    records = [json.loads(line) for line in text.splitlines()]
    return [
        Request(
            record["method"],
            record["target"],
            {name.lower(): value for name, value in record["headers"].items()},
            record["body"],
        )
        for record in records
    ]


def describe(requests: Mapping[Case, Sequence[Request]]) -> SentRequests:
    """Describe requests in the words of the table."""
    probes = [request for request in requests[Case.DEFAULT] if request.is_probe]
    tokens = {case: [request for request in sent if not request.is_probe] for case, sent in requests.items()}
    first = tokens[Case.DEFAULT][-1]
    texts = (
        f"`{_request(first)}`",
        ", ".join(f"`{name}`" for name in _selectors({case: sent[-1] for case, sent in tokens.items()})),
        ", ".join(f"`{text}`" for text in _headers(first)),
        ", ".join(dict.fromkeys(f"`{_request(probe)}`" for probe in probes)) or "none",
        f"{len(tokens[Case.DEFAULT])}",
    )
    return dict(zip(COLUMNS, texts, strict=True))


def _request(request: Request) -> str:
    """Return method and parameters, those of a form in brackets, and the path unless it is the usual one."""
    path = "" if request.path == TOKEN_PATH and request.form else request.path
    parameters = f"[{request.body}]" if request.body else request.target.removeprefix(request.path)
    return f"{request.method} {path}{parameters}"


def _selectors(requests: Mapping[Case, Request]) -> Iterator[str]:
    """Give the parameters that select the identity."""
    usual = requests[Case.DEFAULT].parameters
    for case, request in requests.items():
        if case is not Case.DEFAULT:
            yield from (name for name in request.parameters if name not in usual)


def _headers(request: Request) -> Iterator[str]:
    """Give the headers that not all clients send, with values if these are always the same."""
    for name in sorted(request.headers.keys() - _COMMON):
        known = name in {"metadata", "content-type", "transfer-encoding"}
        yield f"{name}: {request.headers[name]}" if known else name


def tables(sent: Mapping[Row, SentRequests]) -> str:
    """Return the tables of all routes."""
    return "\n".join(_lines(sent))


def _lines(sent: Mapping[Row, SentRequests]) -> Iterator[str]:
    for rows in (of(route) for of in (sdks, programs) for route in Route):
        yield f"### {title(rows[0])}, as sent\n"
        yield line("client", *COLUMNS)
        yield line(*["---"] * (len(COLUMNS) + 1))
        for row in rows:
            texts = sent.get(row, dict.fromkeys(COLUMNS, "not run"))
            yield line(label(row), *(texts[column] for column in COLUMNS))
        yield ""


def documented(row: Row, text: str) -> SentRequests:
    """Return the cells of the row in the document."""
    tables = document.read(text)
    return {column: tables[f"{title(row)}, as sent", label(row), column] for column in COLUMNS}


if __name__ == "__main__":
    sys.exit(document.main("wire", tables(results.row_texts("sent")), sys.argv[1:]))
