"""Describes the requests of SDKs to the token proxy of a cluster, and their errors.

`python -m tests.interop.token_proxy --write` writes the last results into docs/reference/compatibility.md.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from tests.interop import document, results
from tests.interop.build import Built
from tests.interop.cells import Row, token_proxy_rows
from tests.interop.client_run import Answer, run_client
from tests.interop.document import label, line
from tests.interop.recorder import token_response
from tests.interop.table import error_type
from tests.support.https_server import HttpsServer, Reply, Request, https_server
from wisp.gateway.discovery import discovery
from wisp.http import messages
from wisp_local.sandbox.processes import ProcessContext

TITLE = "With the token proxy"
COLUMNS = ("first requests", "first requests, other authority", "token request", "Host", "not granted", "unavailable")
MICROSOFTS, OTHER = "https://login.microsoftonline.com", "https://entra.wisp.test:8443"
"""Authorities of the clients: one that all SDKs know, and one that they do not."""
NOT_GRANTED, UNAVAILABLE = "kubectl create clusterrolebinding", "the API server does not answer"
"""Parts of the errors' descriptions."""
_TENANT_ID, _CLIENT_ID = "00000000-0000-4000-8000-00000000cafe", "00000000-0000-4000-8000-00000000beef"
_BASE = "/base"
_SERVER_NAME = "proxy.wisp.test"
_TOKEN_PATH = f"/{_TENANT_ID}/oauth2/v2.0/token"
_CONFIGURATION = f"/{_TENANT_ID}/v2.0/.well-known/openid-configuration"
_NAMES = {"/common/discovery/instance": "instance discovery", _CONFIGURATION: "OpenID configuration"}
_ASSERTION = "header.payload.signature"
_BARE = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}

Described: TypeAlias = Mapping[str, str]
"""What a client sends and reports, by the headings of the table."""


def describe(row: Row, client: Built) -> Described:
    """Run the client against a token proxy that grants, one that refuses and one that is unavailable."""
    granted, requests = _run(row, client, _grant, MICROSOFTS)
    assert granted.ok, granted.error
    assert {request.server_name for request in requests} == {_SERVER_NAME}
    elsewhere, others = _run(row, client, _grant, OTHER)
    assert elsewhere.ok, elsewhere.error
    token = next(request for request in requests if request.method == "POST")
    assert dict(parse_qsl(token.body.decode()))["client_assertion"] == _ASSERTION
    refused, _ = _run(row, client, _refuse, MICROSOFTS)
    failed, tries = _run(row, client, _fail, MICROSOFTS)
    host = "authority" if token.headers["Host"] == MICROSOFTS.removeprefix("https://") else "proxy"
    return {
        "first requests": _first(requests),
        "first requests, other authority": _first(others),
        "token request": f"`{_form(token)}`",
        "Host": host,
        "not granted": _error(refused, NOT_GRANTED),
        "unavailable": f"{_error(failed, UNAVAILABLE)}, {sum(each.method == 'POST' for each in tries)} tries",
    }


def _run(
    row: Row, client: Built, answer: Callable[[Request], Reply], authority: str
) -> tuple[Answer, Sequence[Request]]:
    """Run the client, which asks twice, with a token proxy that answers token requests with `answer`."""

    def respond(request: Request) -> Reply:
        path = request.path.removeprefix(_BASE)
        found = discovery(_received(request, path), authority)
        return answer(request) if found is None else Reply(json.loads(found.body), found.status)

    with _proxy(respond) as (proxy, folder):
        token_file = folder / "token"
        token_file.write_text(_ASSERTION, encoding="utf-8")
        variables = {
            "AZURE_AUTHORITY_HOST": f"{authority}/",
            "AZURE_TENANT_ID": _TENANT_ID,
            "AZURE_CLIENT_ID": _CLIENT_ID,
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "AZURE_KUBERNETES_TOKEN_PROXY": f"{proxy.url}{_BASE}",
            "AZURE_KUBERNETES_SNI_NAME": _SERVER_NAME,
            "AZURE_KUBERNETES_CA_DATA": proxy.ca,
        }
        answered = run_client(client, row, ProcessContext((), _BARE), variables, "--twice")
        return answered, list(proxy.requests)


@contextmanager
def _proxy(respond: Callable[[Request], Reply]) -> Iterator[tuple[HttpsServer, Path]]:
    with tempfile.TemporaryDirectory() as name, https_server("127.0.0.1", _SERVER_NAME, respond, Path(name)) as proxy:
        yield proxy, Path(name)


def _received(request: Request, target: str) -> messages.Request:
    return messages.Request(request.method.encode(), target.encode(), (), b"", http_1_0=False, keep_alive=True)


def _grant(request: Request) -> Reply:
    assert urlsplit(request.path).path == _BASE + _TOKEN_PATH, request.path
    granted = token_response("resource", int(time.time()))
    return Reply({"token_type": "Bearer", "expires_in": 3600, "access_token": granted["access_token"]})


def _refuse(_: Request) -> Reply:
    return Reply({"error": "invalid_client", "error_description": f"wisp gateway: {NOT_GRANTED}"}, 401)


def _fail(_: Request) -> Reply:
    described = f"wisp gateway: {UNAVAILABLE}"
    return Reply({"error": "temporarily_unavailable", "error_description": described}, 503, {"Retry-After": "1"})


def _first(requests: Sequence[Request]) -> str:
    """Return what was requested besides the token."""
    paths = (urlsplit(request.path).path.removeprefix(_BASE) for request in requests if request.method == "GET")
    return ", ".join(dict.fromkeys(_NAMES[path] for path in paths)) or "none"


def _form(request: Request) -> str:
    """Return the names of the parameters in the query and, in brackets, in the body."""
    query = [name for name, _ in parse_qsl(urlsplit(request.path).query)]
    names = sorted(name for name, _ in parse_qsl(request.body.decode(), keep_blank_values=True))
    common = [name for name in names if not name.startswith("x-")]
    others = "" if common == names else " and telemetry"
    return f"POST {'?' if query else ''}{'&'.join(query)}[{'&'.join(common)}]{others}"


def _error(answer: Answer, text: str) -> str:
    """Return the type of an error, and whether its text has the description."""
    assert not answer.ok
    return f"`{error_type(answer.error)}`: {'reason' if text in answer.error else 'no reason'}"


def tables(found: Mapping[Row, Described]) -> str:
    """Return the table."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[Row, Described]) -> Iterator[str]:
    yield f"### {TITLE}\n"
    yield line("client", *COLUMNS)
    yield line(*["---"] * (len(COLUMNS) + 1))
    for row in token_proxy_rows():
        texts = found.get(row, dict.fromkeys(COLUMNS, "not run"))
        yield line(label(row), *(texts[column] for column in COLUMNS))


def documented(row: Row, text: str) -> Described:
    """Return the cells of the row in the document."""
    cells = document.read(text)
    return {column: cells[TITLE, label(row), column] for column in COLUMNS}


if __name__ == "__main__":
    sys.exit(document.main("token_proxy", tables(results.row_texts("proxied", token_proxy_rows())), sys.argv[1:]))
