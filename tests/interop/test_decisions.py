"""The parts of the harness that run nothing: outputs and requests of clients, and the tables of the document."""

import json
from dataclasses import replace

import pytest

from tests.interop import document, table, wire
from tests.interop.cells import ERRORS, TOKENS, Case, Cell, Route, Row, cells, hidden_reason, impossible_reason, rows
from tests.interop.client_run import Answer, parse_answer
from tests.interop.injection import IDENTITY, Sharing, inject
from tests.interop.recipes import RECIPES
from tests.interop.wire import Request, describe, parse_records

_IDENTITY = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
_ROW = Row("go", "mi", Route.ENVIRONMENT)
_TOKEN = {"expires_on": 7, "token_sha256": "0" * 64, "appid": "a", "oid": "o", "aud": "r"}
_AUTHENTIC = {"x-identity-header": "secret", "metadata": "true", "user-agent": "a client"}


@pytest.mark.parametrize("row", rows(Route.ENVIRONMENT), ids=str)
def test_every_sdk_has_a_pinned_version(row: Row) -> None:
    """The version in the tables is the manifest's, and that of the lock file, if there is one."""
    recipe = RECIPES[row.client]
    version = recipe.version(row.mode)
    assert version[0].isdigit()
    package = recipe.sdks[row.mode].package
    locks = {"requirements.txt": f"{package}=={version} ", "package-lock.json": f'"{package}": "{version}"'}
    for name, line in locks.items():
        lock = recipe.folder / name
        assert not lock.exists() or line in lock.read_text(encoding="utf-8")


def test_document_lists_the_variables_of_env_mode(compatibility: str) -> None:
    """They are those of the matrix."""
    variables = inject(Route.ENVIRONMENT, Sharing.SIDECAR_ONLY, 8000, _IDENTITY)
    header = variables.sidecar["IDENTITY_HEADER"]
    lines = "".join(f"  {name}={value}\n" for name, value in variables.application.items()).replace(header, "SECRET")
    assert f"  ```\n{lines}  ```\n" in compatibility


@pytest.mark.parametrize("route", Route)
def test_sidecar_always_has_the_identity(route: Route) -> None:
    """The application has it, too, unless only the sidecar should."""
    shared, private = (inject(route, sharing, 8000, _IDENTITY) for sharing in (Sharing.ALL, Sharing.SIDECAR_ONLY))
    for variables in (shared.application, shared.sidecar, private.sidecar):
        assert {variables["AZURE_CLIENT_ID"], variables["AZURE_TENANT_ID"]} == set(_IDENTITY)
        assert set(IDENTITY) <= set(variables)
    assert set(private.application) == set(shared.application) - set(IDENTITY)
    assert ("IDENTITY_ENDPOINT" in private.application) == (route is Route.ENVIRONMENT)


@pytest.mark.parametrize("name", RECIPES)
def test_lock_files_name_no_package_source(name: str) -> None:
    """The machine that builds decides it."""
    folder = RECIPES[name].folder
    assert not (folder / "Cargo.lock").exists()
    for lock in (folder / "requirements.txt", folder / "package-lock.json"):
        text = lock.read_text(encoding="utf-8") if lock.exists() else ""
        assert '"resolved"' not in text
        assert "--index-url" not in text


def test_every_reason_concerns_a_cell() -> None:
    """Only requests for tokens can be impossible; all errors are run."""
    all_cells = [Cell(row, case) for route in Route for row in rows(route) for case in row.cases]
    assert {cell.case for cell in all_cells if impossible_reason(cell)} <= set(TOKENS)
    assert {cell.case for cell in all_cells if hidden_reason(cell)} <= set(ERRORS)
    assert len(cells(*Case)) == len(all_cells) - sum(impossible_reason(cell) is not None for cell in all_cells)
    assert len({str(cell) for cell in all_cells}) == len(all_cells)


def test_answer_with_a_token_is_read() -> None:
    """With the seconds of every request, claims and expiry."""
    answer = parse_answer(json.dumps({"ok": True, "seconds": [0.5, 0.25], **_TOKEN}))
    claims = {"appid": "a", "oid": "o", "aud": "r"}
    assert answer == Answer(
        ok=True, seconds=(0.5, 0.25), claims=claims, expires_on=7, token_sha256=str(_TOKEN["token_sha256"])
    )
    assert answer.duration == 0.75


def test_answer_with_an_error_is_read() -> None:
    """There are no seconds if a client failed before its request."""
    assert parse_answer('{"ok": false, "error": "E: text", "seconds": null}') == Answer(
        ok=False, seconds=(), error="E: text"
    )


@pytest.mark.parametrize("output", ["", "one\ntwo", '{"ok": true}\n{"ok": true}'], ids=["nothing", "text", "two"])
def test_output_that_is_not_one_line_is_an_error(output: str) -> None:
    """A client prints nothing else."""
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
def test_error_type_has_no_module(text: str, name: str) -> None:
    """In all languages."""
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
def test_error_is_described_in_the_table(case: Case, error: str, text: str) -> None:
    """By its type, its reason, and the duration of retries."""
    assert table.mark(Cell(_ROW, case), Answer(ok=False, seconds=(3, 4.4), error=error)) == text


def test_written_tables_are_read_back() -> None:
    """Cells have no seconds then, and the document around the tables is unchanged."""
    error = Answer(ok=False, seconds=(7,), error="E: AADSTS90055")
    answers = {cell: error if cell.case is Case.THROTTLED else Answer(ok=True, seconds=(1,)) for cell in cells(*Case)}
    surrounding = f"before\n{document.begin('table')}\nold\n{document.end('table')}\nafter\n"
    text = document.with_part(surrounding, "table", table.tables(answers))
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    part = document.part(text, "table")
    assert table.documented(Cell(_ROW, Case.THROTTLED), part) == "`E`: AADSTS90055"
    assert table.documented(Cell(_ROW, Case.DEFAULT), part) == "token"
    assert table.documented(Cell(replace(_ROW, mode="dac"), Case.OBJECT_ID), part) == "—"
    assert ", 7 s" in part


def test_requests_are_described_in_the_table() -> None:
    """Parameters as sent, names of selectors, uncommon headers, probes, and the number of requests."""
    probe = Request("GET", f"{wire.TOKEN_PATH}?api-version=1", {"user-agent": "a client"}, "")
    plain = Request("GET", f"{wire.TOKEN_PATH}?api-version=1&resource=r%3A", _AUTHENTIC, "")
    chosen = Request("GET", f"{wire.TOKEN_PATH}?api-version=1&clientid=1&resource=r", _AUTHENTIC, "")
    assert describe({Case.DEFAULT: [probe, plain, plain], Case.CLIENT_ID: [chosen]}) == {
        "request": "`GET ?api-version=1&resource=r%3A`",
        "selectors": "`clientid`",
        "headers": "`metadata: true`, `x-identity-header`",
        "probes": "`GET ?api-version=1`",
        "requests for two tokens": "2",
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
def test_unusual_requests_are_shown_completely(record: dict[str, str], text: str) -> None:
    """A form in brackets, an unusual path, no parameters."""
    requests = parse_records(json.dumps({**record, "headers": {"Secret": "s"}}))
    assert describe({Case.DEFAULT: requests})["request"] == text
