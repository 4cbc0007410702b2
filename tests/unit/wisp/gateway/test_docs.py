"""docs/reference/gateway.md says what is: options, rights, answers, refusals, records, limits, grants."""

import json
import os
import re
from typing import Any, get_args

import click
import pytest
import yaml

from tests.support.paths import ROOT
from tests.unit.wisp.gateway.test_answers import FEDERATION, granted
from tests.unit.wisp.gateway.test_audit import REFUSAL, REQUEST
from tests.unit.wisp.gateway.test_metrics import GAUGES
from tests.unit.wisp.gateway.test_request import REFUSED_FORMS
from tests.unit.wisp.gateway.token_requests import FORM, RULES, TENANT, token_request
from tests.unit.wisp.proxy.exposition import parse
from wisp.certificates.decision import Lifetimes
from wisp.cli import main
from wisp.cli.gateway import command
from wisp.entra.freshness import REFUSAL_HOLD
from wisp.entra.messages import MOST_AT_ONCE
from wisp.gateway import answers, app, assertion, audit, authorizer, discovery, limits, quoting, request, tokens
from wisp.gateway.audit import AuditLog
from wisp.gateway.metrics import GatewayMetrics
from wisp.gateway.request import read_request
from wisp.gateway.types import API_GROUP, AUDIENCE, VERB, Forbidden, Outcome, TokenRefusal, Unauthenticated, Undecided
from wisp.http.asyncio_process import BYTES, CONNECTIONS, HEALTH_CONNECTIONS, TIMES
from wisp.http.parser import HEAD_LIMIT, HEADERS_LIMIT, TARGET_LIMIT

DOCUMENT = (ROOT / "docs/reference/gateway.md").read_text(encoding="utf-8")
SOURCES = ROOT / "src/wisp"
CLIENT_ID = "11111111-1111-4111-8111-111111111111"
ONLY_WITH_A_CONFIGURATION = {"CA bundle written", "the configuration has just changed"}
"""Log events of certificates that are published in an object besides their Secret."""

GUIDES = ("docs/how-to/gateway.md", "docs/how-to/gateway-migration.md", "docs/how-to/lab.md", "docs/troubleshooting.md")


def _commands() -> list[list[str]]:
    """Return the words of each `wisp gateway` command of the guides, with values for variables."""
    values = {'"$CLIENT_ID"': CLIENT_ID, "CLIENT_ID": CLIENT_ID, "NAMESPACE/NAME": "team-a/shop"}
    found = set()
    for guide in GUIDES:
        text = (ROOT / guide).read_text(encoding="utf-8")
        for words in re.findall(r"wisp gateway ((?:grant|revoke|list) -[^`\n|]+)", text):
            found.add(tuple(values.get(word, word) for word in words.split()))
    return sorted(map(list, found))


COMMANDS = _commands()


def section(heading: str) -> str:
    """Return the text under a heading."""
    return DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def tables(heading: str) -> list[list[list[str]]]:
    """Return the cells of each table under a heading, without its first row."""
    found = re.findall(r"(?:^\|.+\|\n)+", section(heading), re.MULTILINE)
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]
        for table in found
    ]


def quoted(cells: str, pattern: str = r"`([^`]+)`") -> list[str]:
    """Return what a cell has in code style."""
    return re.findall(pattern, cells)


def flags(table: list[list[str]]) -> set[str]:
    """Return the long options in the first column."""
    return {name for row in table for name in quoted(row[0], r"`(--[a-z-]+)[` ]") + quoted(row[0], r", `(--[a-z-]+)`")}


def serve() -> click.Command:
    found = command.commands["serve"]
    assert isinstance(found, click.Command)
    return found


class TestServe:
    """The process."""

    def test_documented_options_match_the_program(self) -> None:
        (table,) = tables("Options of the process")
        assert flags(table) == {option.opts[0] for option in serve().params}

    def test_documented_defaults_match_the_program(self) -> None:
        (table,) = tables("Options of the process")
        documented = {
            flag: default
            for row in table
            for flag, default in zip(quoted(row[0]), quoted(row[1]), strict=False)
            if flag not in ("--tenant", "--namespace")
        }
        options = {option.opts[0]: option for option in serve().params}
        assert documented == {
            name: f"{option.default}" for name, option in options.items() if name in documented and option.default
        }
        assert documented["--port"] == "8443"

    def test_every_option_has_the_documented_variable(self) -> None:
        assert serve().context_settings["auto_envvar_prefix"] == "WISP_TOKENS"
        for option in serve().params:
            variable = "WISP_TOKENS_" + option.opts[0].removeprefix("--").replace("-", "_").upper()
            own = {f"WISP_TOKENS_{(option.name or '').upper()}", *(option.envvar or ())}
            assert variable in own

    def test_documented_permissions_are_those_of_the_chart(self) -> None:
        rendered = yaml.safe_load_all((ROOT / "tests/golden/chart/gateway-defaults.yaml").read_text())
        rules = {
            (rule["apiGroups"][0], rule["resources"][0], tuple(rule["verbs"]))
            for found in rendered
            if found["kind"] in ("Role", "ClusterRole") and found["metadata"]["name"] == "wisp-gateway"
            for rule in found["rules"]
        }
        (table,) = tables("Permissions")
        documented = {(row[0].strip("`"), row[1].strip("`"), tuple(quoted(row[3]))) for row in table}
        assert documented == rules

    def test_documented_reasons_for_not_being_ready_match_the_program(self) -> None:
        source = (SOURCES / "gateway/app.py").read_text().partition("def not_ready")[2].partition("return")[0]
        (table,) = tables("Readiness")
        assert {quoted(row[0])[0] for row in table} == set(re.findall(r'"([^"]+)": ', source))


class TestRequestsAndAnswers:
    """What clients send and get."""

    def test_documented_fields_of_the_form_are_those_that_are_read(self) -> None:
        source = (SOURCES / "gateway/request.py").read_text()
        read = set(re.findall(r'(?:_required|_value)\(form, b"([a-z_]+)"\)', source)) - {"client_secret"}
        assert {quoted(row[0])[0] for row in tables("Token requests")[0]} == read

    def test_documented_fields_of_a_token_match_the_program(self) -> None:
        (table,) = tables("Answers")
        assert [name for row in table for name in quoted(row[0])] == list(granted(86_400))

    def test_documented_refusal_has_the_fields_of_a_refusal(self) -> None:
        (example,) = re.findall(r"```json\n(.+?)\n```", section("Answers"), re.DOTALL)
        refused = answers.refusal(TokenRefusal("forbidden", 401, "invalid_client", "no"), TENANT, unix=0.0)
        assert list(json.loads(example)) == list(json.loads(refused.body))
        assert json.loads(example)["error_description"].startswith("wisp gateway: system:serviceaccount:")

    def test_discovery_documents_are_those_of_the_program(self) -> None:
        assert f"`{discovery.INSTANCE_PATH}`" in DOCUMENT
        (path,) = re.findall(r"`(/\{tenant\}/v2.0/[^`]+)`", DOCUMENT)
        assert discovery._CONFIGURATION.fullmatch(path.replace("{tenant}", TENANT))

    @pytest.mark.parametrize("form, code, status, _", REFUSED_FORMS.values(), ids=REFUSED_FORMS)
    def test_refused_form_is_documented(self, form: dict[str, str] | bytes, code: int, status: int, _: str) -> None:
        refused = read_request(token_request(form), RULES)
        assert isinstance(refused, TokenRefusal)
        assert (str(status), refused.error, str(code)) in _documented_refusals()

    @pytest.mark.parametrize(
        "refused",
        [
            read_request(token_request(FORM, target="/x"), RULES),
            read_request(token_request(FORM, method=b"PUT"), RULES),
            read_request(token_request(FORM, target="/a.example/oauth2/v2.0/token"), RULES),
            read_request(token_request(FORM, target="/a b/oauth2/v2.0/token"), RULES),
            read_request(token_request({**FORM, "client_id": "shop"}), RULES),
            read_request(token_request({**FORM, "claims": "x" * 5_000}), RULES),
            read_request(token_request({**FORM, "scope": "x" * 2_000}), RULES),
            answers.unauthenticated(Unauthenticated("why")),
            answers.forbidden(Forbidden(REQUEST.caller), CLIENT_ID),  # type: ignore[arg-type]  # it has one
            answers.undecided(Undecided("why", 2.0)),
            answers.internal_error(),
            limits._throttled("why", 1.0),
        ],
        ids=lambda refused: f"{refused.status} {refused.error} {refused.code}",
    )
    def test_other_refusal_is_documented(self, refused: TokenRefusal) -> None:
        code = "" if refused.code is None else str(refused.code)
        assert (str(refused.status), refused.error, code) in _documented_refusals()

    def test_documented_codes_are_those_of_the_program(self) -> None:
        source = (SOURCES / "gateway/request.py").read_text()
        used = set(re.findall(r"_refused\(\s*(\d+)", source))
        assert {code for _, _, code in _documented_refusals() if code} == used
        assert "**700211, 700213 and 70025** of Entra" in DOCUMENT
        assert set(answers._FEDERATION_CODES) == {700211, 700213, 70025}
        hinted = answers._hinted("AADSTS700213: No.", FEDERATION)
        assert "IDENTITY" in hinted
        assert "RESOURCE_GROUP" in hinted


def _documented_refusals() -> set[tuple[str, str, str]]:
    """Return status, error and code of each row; a row may have several errors."""
    (table,) = tables("Refusals")
    return {
        (status, error, code if code.isdigit() else "")
        for status, errors, code, *_ in table
        for error in quoted(errors)
    }


class TestRecords:
    """Audit log, metrics and log."""

    def test_documented_audit_fields_match_the_program(self) -> None:
        (table,) = tables("Audit log")
        documented = [name for row in table for name in quoted(row[0])]
        with_loss = _audit_line(refused=True, lost=1)
        assert sorted(documented) == sorted(with_loss)

    def test_documented_audit_line_has_the_fields_of_a_grant(self) -> None:
        (example,) = re.findall(r"```json\n(.+)\n```", section("Audit log"))
        assert list(json.loads(example)) == list(_audit_line(refused=False, lost=0))

    def test_documented_results_are_those_of_the_program(self) -> None:
        outcomes = set(get_args(Outcome))
        results = next(row[1] for row in tables("Audit log")[0] if row[0] == "`result`")
        assert set(quoted(results.partition(": ")[2])) == outcomes - {"rejected"}
        counted = next(row[1] for row in tables("Metrics")[0] if "requests_total" in row[0])
        assert set(quoted(counted)) == {*outcomes, "failed"}

    def test_documented_metrics_match_the_program(self) -> None:
        metrics = GatewayMetrics()
        metrics.exchanges.add("granted", None)
        families = parse(metrics.render(GAUGES).decode())
        (table,) = tables("Metrics")
        assert {re.findall(r"wisp_\w+", row[0])[0] for row in table} == set(families)
        for row in table:
            name, labels = re.findall(r"`(wisp_\w+)(?:\{([a-z,]+)\})?`", row[0])[0]
            samples = families[name].samples
            found = {label.partition("=")[0] for _, *pairs in samples for label in pairs if label} - {"le"}
            assert found == set(filter(None, labels.split(",")))

    def test_documented_log_events_match_the_program(self) -> None:
        folders = (SOURCES / "gateway", SOURCES / "certificates")
        files = [SOURCES / "http/asyncio_process.py", *(path for folder in folders for path in folder.rglob("*.py"))]
        sources = "".join(path.read_text() for path in files)
        found = re.findall(r'log\.(info|warning|debug)\(\s*"([^"]+)"', sources)
        written = {(event, level) for level, event in found if event not in ONLY_WITH_A_CONFIGURATION}
        written |= {(event, "info") for event in re.findall(r'event(?:, reason)? = "([^"]+)"', sources)}
        (table,) = tables("Log")
        assert written == {(event, row[1]) for row in table for event in quoted(row[0])}


def _audit_line(*, refused: bool, lost: int) -> dict[str, Any]:
    """Return a line of the audit log, in its order."""
    reader, writer = os.pipe()
    try:
        log = AuditLog(lambda _seconds, _write: None, writer, lambda: 0.0)
        if lost:
            log._lose(lost)
        if refused:
            log.refused(REQUEST, REFUSAL)
        else:
            log.granted(REQUEST)
        log.flush()
        found: dict[str, Any] = json.loads(os.read(reader, 65_536))
        return found
    finally:
        os.close(reader)
        os.close(writer)


class TestGrants:
    """The commands grant, revoke and list."""

    def test_documented_options_match_the_program(self) -> None:
        table, _ = tables("Grants")
        context = click.Context(command)
        documented: dict[str, set[str]] = {"grant": set(), "revoke": set(), "list": set()}
        for row in table:
            names = quoted(row[1]) or list(documented)
            for name in names:
                documented[name] |= {flag for flag in quoted(row[0].replace(" ", "` `")) if flag.startswith("--")}
        for name, flags_ in documented.items():
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            assert flags_ == {option.opts[-1] for option in subcommand.params}

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_documented_command_is_accepted(self, words: list[str]) -> None:
        """By the parser of its options; nothing is sent."""
        name, *arguments = words
        subcommand = command.get_command(click.Context(command), name)
        assert subcommand is not None
        with subcommand.make_context(name, arguments):
            pass

    def test_commands_of_the_guides_are_found(self) -> None:
        assert {words[0] for words in COMMANDS} == {"grant", "revoke", "list"}

    def test_documented_manifests_are_those_of_a_dry_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        (example,) = re.findall(r"```yaml\n(.+?)```", section("Grants"), re.DOTALL)
        flags_ = ["--client-id", CLIENT_ID, "--service-account", "team-a/shop", "--dry-run", "-o", "yaml"]
        assert main(["gateway", "grant", *flags_]) == 0
        assert capsys.readouterr().out == example

    def test_documented_list_has_the_fields_of_the_program(self) -> None:
        (example,) = re.findall(r"```json\n(.+?)```", section("Grants"), re.DOTALL)
        (found,) = json.loads(example)["grants"]
        source = (SOURCES / "cli/grants.py").read_text().partition("def _record")[2].partition("\ndef ")[0]
        assert [name for name in re.findall(r'"(\w+)": ', source) if name not in ("kind", "name")] == list(found)
        assert list(found["subject"]) == ["kind", "name", "namespace"]


def test_sdks_of_the_guide_are_those_that_are_tested() -> None:
    """With their versions and options."""
    guide = (ROOT / "docs/how-to/gateway.md").read_text(encoding="utf-8")
    compatibility = (ROOT / "docs/reference/compatibility.md").read_text(encoding="utf-8")
    tested = re.findall(r"(?im)^\| (?:\w+), (\S+) (\d+\.\d+)\.\d+, `(enable_?azure_?proxy)\b", compatibility)
    documented = re.findall(r"(?im)^\| (?:\w+), (\S+) (\d+\.\d+) \| `.*?(enable_?azure_?proxy)\b", guide)
    assert len(documented) == 4
    assert sorted(documented) == sorted(tested)


@pytest.mark.parametrize(
    "sentence",
    [
        f"`{AUDIENCE}`",
        f"verb `{VERB}`",
        f"API group `{API_GROUP}`",
        f"at most {request.FORM_LIMIT >> 10} KiB and {request._FIELDS_LIMIT} fields",
        f"at most {request._SCOPE_LIMIT:,} bytes",
        f"at most {request._ASSERTION_LIMIT >> 10} KiB |",
        f"a JSON object of at most {request._CLAIMS_LIMIT >> 10} KiB",
        f"becomes valid more than {assertion._EARLY:g} seconds from now",
        f"repeated up to {quoting._LIMIT} characters",
        f"{authorizer.REMEMBERED:,} answers of each kind",
        f"their reviews {authorizer.CONCURRENT_REVIEWS} at a time, at most {authorizer._PER_SOURCE} of them for one",
        f"{authorizer._WAITING} more wait for their turn",
        f"A review has {authorizer.REVIEW_SECONDS:g} seconds",
        f"waits at most {authorizer.AUTHORIZE_SECONDS:g} seconds in all",
        f"`Retry-After` grows from {authorizer._SHORTEST_RETRY:g} to {authorizer._LONGEST_RETRY:g} seconds",
        "at most once per second. While that is an error" if authorizer._READY_SECONDS == 1 else "",
        f"at most {tokens.MOST_KEYS} tokens, and all identities together at most {tokens.MOST_ENTRIES:,}",
        f"{MOST_AT_ONCE} at a time, at most {tokens._AT_ONCE_FOR_ONE} of them for one identity",
        f"has not had its turn after {tokens._LONGEST_QUEUED:g} seconds",
        f"At most {tokens._MOST_RENEWALS} identities are renewed",
        f"remembered for {REFUSAL_HOLD:g} seconds",
        f"remembers up to {limits._MOST_CALLERS:,} callers",
        "with a burst of twice as many" if limits._BURST_SECONDS == 2 else "",
        f"at most {HEAD_LIMIT >> 10} KiB, {HEADERS_LIMIT} fields and a target of {TARGET_LIMIT >> 10} KiB",
        f"a body {request.FORM_LIMIT >> 10} KiB",
        f"{CONNECTIONS} connections for token requests and {HEALTH_CONNECTIONS} for health",
        f"{TIMES.message:g} seconds for a request to arrive, {BYTES >> 20} MiB",
        f"at most {audit._REASON_LIMIT:,} characters",
        f"Fields have at most {audit._FIELD_LIMIT} characters",
        f"Up to {audit._WAITING_LIMIT >> 20} MiB of lines",
        "half of that is for grants only" if audit._REFUSALS_LIMIT * 2 == audit._WAITING_LIMIT else "",
        "remaining lines have one second" if app._FLUSH_SECONDS == 1 else "",
        "tokens that live two hours or longer" if answers._REFRESHED == 7200 else "",
        "3.3 years by default" if round(Lifetimes().authority / 3 / 86400 / 365, 1) == 3.3 else "",
    ],
)
def test_documented_numbers_match_the_program(sentence: str) -> None:
    assert sentence
    assert sentence in " ".join(DOCUMENT.split())
