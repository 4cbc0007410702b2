"""What the harness decides without a machine: what clients say and send, and how the document tells it."""

import json
from dataclasses import replace

import pytest

from tests.interop import document, table, wire
from tests.interop.asking import Answer, parse_answer
from tests.interop.cells import ERRORS, TOKENS, Case, Cell, Route, Row, cannot, cells, kept_back, rows
from tests.interop.injection import IDENTITY, Sharing, injected
from tests.interop.recipes import RECIPES
from tests.interop.wire import Request, describe, parse_records

_IDENTITY = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
_ROW = Row("go", "mi", Route.ENVIRONMENT)
_TOKEN = {"expires_on": 7, "token_sha256": "0" * 64, "appid": "a", "oid": "o", "aud": "r"}
_AUTHENTIC = {"x-identity-header": "secret", "metadata": "true", "user-agent": "a client"}


@pytest.mark.parametrize("row", rows(Route.ENVIRONMENT), ids=str)
def test_every_sdk_is_pinned(row: Row) -> None:
    """The version in the tables is the manifest's, and the lock file's where there is one."""
    recipe = RECIPES[row.client]
    version = recipe.version(row.mode)
    assert version[0].isdigit()
    package = recipe.sdks[row.mode].package
    locks = {"requirements.txt": f"{package}=={version} ", "package-lock.json": f'"{package}": "{version}"'}
    for name, line in locks.items():
        lock = recipe.folder / name
        assert not lock.exists() or line in lock.read_text(encoding="utf-8")


def test_the_document_says_what_clients_are_told(compatibility: str) -> None:
    """The variables of the environment's way are those that the matrix is run with."""
    told = injected(Route.ENVIRONMENT, Sharing.SIDECAR_ONLY, 8000, _IDENTITY)
    header = told.sidecar["IDENTITY_HEADER"]
    lines = "".join(f"  {name}={value}\n" for name, value in told.application.items()).replace(header, "SECRET")
    assert f"  ```\n{lines}  ```\n" in compatibility


@pytest.mark.parametrize("route", Route)
def test_who_has_the_identity(route: Route) -> None:
    """The sidecar in any case; the application unless the sidecar alone is to have it."""
    both, alone = (injected(route, sharing, 8000, _IDENTITY) for sharing in (Sharing.ALL, Sharing.SIDECAR_ONLY))
    for told in (both.application, both.sidecar, alone.sidecar):
        assert {told["AZURE_CLIENT_ID"], told["AZURE_TENANT_ID"]} == set(_IDENTITY)
        assert set(IDENTITY) <= set(told)
    assert set(alone.application) == set(both.application) - set(IDENTITY)
    assert ("IDENTITY_ENDPOINT" in alone.application) == (route is Route.ENVIRONMENT)


@pytest.mark.parametrize("name", RECIPES)
def test_no_lock_file_says_where_packages_come_from(name: str) -> None:
    """Whoever builds decides that."""
    folder = RECIPES[name].folder
    assert not (folder / "Cargo.lock").exists()
    for lock in (folder / "requirements.txt", folder / "package-lock.json"):
        text = lock.read_text(encoding="utf-8") if lock.exists() else ""
        assert '"resolved"' not in text
        assert "--index-url" not in text


def test_every_reason_is_about_a_cell() -> None:
    """A token can be asked for or not; an error is run in any case."""
    every = [Cell(row, case) for route in Route for row in rows(route) for case in row.cases]
    assert {cell.case for cell in every if cannot(cell)} <= set(TOKENS)
    assert {cell.case for cell in every if kept_back(cell)} <= set(ERRORS)
    assert len(cells(*Case)) == len(every) - sum(cannot(cell) is not None for cell in every)
    assert len({str(cell) for cell in every}) == len(every)


def test_a_token_answer_is_read() -> None:
    """Seconds of every question, claims and expiry."""
    answer = parse_answer(json.dumps({"ok": True, "seconds": [0.5, 0.25], **_TOKEN}))
    claims = {"appid": "a", "oid": "o", "aud": "r"}
    assert answer == Answer(
        ok=True, seconds=(0.5, 0.25), claims=claims, expires_on=7, token_sha256=str(_TOKEN["token_sha256"])
    )
    assert answer.took == 0.75


def test_an_error_answer_is_read() -> None:
    """A client that failed before it asked has no seconds."""
    assert parse_answer('{"ok": false, "error": "E: text", "seconds": null}') == Answer(
        ok=False, seconds=(), error="E: text"
    )


@pytest.mark.parametrize("output", ["", "one\ntwo", '{"ok": true}\n{"ok": true}'], ids=["nothing", "text", "two"])
def test_anything_but_one_line_is_a_fault(output: str) -> None:
    """A client prints one line and nothing else."""
    with pytest.raises(AssertionError, match="not one line"):
        parse_answer(output)


@pytest.mark.parametrize(
    "text, name",
    [
        ("*azidentity.AuthenticationFailedError: no", "AuthenticationFailedError"),
        ("com.azure.core.exception.ClientAuthenticationException: no | a: b", "ClientAuthenticationException"),
        ("azure_core::Error: no", "Error"),
        ("CredentialUnavailableError: no", "CredentialUnavailableError"),
        ("HTTPError: ", "HTTPError"),
        ("ERROR: AADSTS1: no", "ERROR"),
    ],
)
def test_an_error_is_called_by_its_name(text: str, name: str) -> None:
    """Without its module, whatever the language."""
    assert table.error_type(text) == name


@pytest.mark.parametrize(
    "case, error, text",
    [
        (Case.FEDERATION, "E: AADSTS700213: no", "`E`: AADSTS700213"),
        (Case.FEDERATION, "E: something", "`E`: no reason"),
        (Case.THROTTLED, "E: AADSTS90055", "`E`: AADSTS90055, 7 s"),
        (Case.DEFAULT, "E: AADSTS90055", "`E`: no reason"),
    ],
    ids=["reason", "no reason", "patience", "no token"],
)
def test_an_error_in_the_table(case: Case, error: str, text: str) -> None:
    """Its type, its reason, and how long it took where that is of interest."""
    assert table.mark(Cell(_ROW, case), Answer(ok=False, seconds=(3, 4.4), error=error)) == text


def test_what_is_written_is_read_back() -> None:
    """Every cell is found again, without its seconds, and the document around it is as it was."""
    error = Answer(ok=False, seconds=(7,), error="E: AADSTS90055")
    answers = {cell: error if cell.case is Case.THROTTLED else Answer(ok=True, seconds=(1,)) for cell in cells(*Case)}
    around = f"before\n{document.begin('table')}\nold\n{document.end('table')}\nafter\n"
    text = document.with_part(around, "table", table.tables(answers))
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    part = document.part(text, "table")
    assert table.said(Cell(_ROW, Case.THROTTLED), part) == "`E`: AADSTS90055"
    assert table.said(Cell(_ROW, Case.DEFAULT), part) == "token"
    assert table.said(Cell(replace(_ROW, mode="dac"), Case.OBJECT_ID), part) == "—"
    assert ", 7 s" in part


def test_what_was_sent_in_the_table() -> None:
    """Parameters as sent, names of selectors, uncommon headers, probes, and how often it asked."""
    probe = Request("GET", f"{wire.TOKEN_PATH}?api-version=1", {"user-agent": "a client"}, "")
    plain = Request("GET", f"{wire.TOKEN_PATH}?api-version=1&resource=r%3A", _AUTHENTIC, "")
    chosen = Request("GET", f"{wire.TOKEN_PATH}?api-version=1&clientid=1&resource=r", _AUTHENTIC, "")
    assert describe({Case.DEFAULT: [probe, plain, plain], Case.CLIENT_ID: [chosen]}) == {
        "request": "`GET ?api-version=1&resource=r%3A`",
        "selectors": "`clientid`",
        "headers": "`metadata: true`, `x-identity-header`",
        "probes": "`GET ?api-version=1`",
        "asked twice, sends": "2",
    }


@pytest.mark.parametrize(
    "record, text",
    [
        ({"method": "POST", "target": wire.TOKEN_PATH, "body": "resource=r"}, "`POST [resource=r]`"),
        ({"method": "GET", "target": "//other?a=b", "body": ""}, "`GET //other?a=b`"),
        ({"method": "GET", "target": wire.TOKEN_PATH, "body": ""}, f"`GET {wire.TOKEN_PATH}`"),
    ],
    ids=["form", "path", "bare"],
)
def test_unusual_requests_are_shown_whole(record: dict[str, str], text: str) -> None:
    """A form in brackets, a path that is not the usual one, no parameters."""
    requests = parse_records(json.dumps({**record, "headers": {"Secret": "s"}}))
    assert describe({Case.DEFAULT: requests})["request"] == text
