"""The page over HTTP: what it shows, and to whom."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.wisp_local.cloud.asgi import Answer, Client
from tests.unit.wisp_local.cloud.page.conftest import HOST, From
from tests.unit.wisp_local.cloud.world import ARM, BASE_URL, SUBJECT, World
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.issuer import new_rsa_key
from wisp_local.cloud.page import guard
from wisp_local.cloud.page.guard import PROTECTION
from wisp_local.cloud.page.record import RECORDED
from wisp_local.cloud.roles import OWNER

GUID = "11111111-2222-4333-8444-555555555555"
SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


def _text(answer: Answer) -> str:
    """Return what can be read on the page, tags and runs of space taken out."""
    with_cells = re.sub(r"</t[hd]>", " ", answer.body.decode())
    without_tags = re.sub(r"<[^>]*>", "", with_cells)
    return " ".join(unescape(without_tags).split())


def _newest(world: World) -> str:
    """Return the path of the newest exchange."""
    found = re.search(r'href="(/exchanges/[^"]+)"', world.client.get("/").body.decode())
    assert found is not None
    return found[1]


def _opened(world: World) -> str:
    answer = world.client.get(_newest(world))
    assert answer.status == 200
    return _text(answer)


def _mark(world: World) -> str:
    found = re.search(r'name="mark" value="([0-9a-f]{64})"', world.client.get(_newest(world)).body.decode())
    assert found is not None
    return found[1]


def test_without_being_asked_there_is_no_page(world: World) -> None:
    """An application made without it keeps no record and has no such routes."""
    assert [world.client.get(path).status for path in ("/", "/exchanges", "/page/style.css")] == [404] * 3


def test_everything_there_is(paged: World) -> None:
    """Identities with what they trust, issuers with links to what they publish."""
    paged.store.put_identity("WorkloadIdentityRG", "nobody-trusts", "eastus")
    text, html = _text(paged.client.get("/")), paged.client.get("/").body.decode()
    for value in (paged.identity.client_id, paged.identity.principal_id, SUBJECT, paged.issuer_url, paged.tenant):
        assert value in text
    assert "Trusts nobody yet" in text
    for path in re.findall(r'href="(/oidc/[^"]+)"', html):
        assert paged.client.get(path).status == 200
    assert html.count('href="/oidc/') == 2


def test_a_granted_exchange_is_decoded(paged: World) -> None:
    """What jwt.io shows: header, payload, readable times, and the signature verified; but not the token."""
    token = paged.ask().json()["access_token"]
    answer = paged.client.get(_newest(paged))
    text = _text(answer)
    for part in (f'"{ARM}"', "xms_cae", paged.identity.resource_id, "expires 2025-10-10 08:53:20 UTC, in 1 d"):
        assert part in text
    assert "Signature: verified with this cloud" in text
    assert "wi-demo-federated-id trusts exactly what was presented" in text
    for page in (answer, paged.client.get("/"), paged.client.get("/exchanges"), paged.client.get("/exchanges/news")):
        assert token.encode() not in page.body
        assert token.rpartition(".")[2].encode() not in page.body


def test_a_token_that_does_not_verify_any_more_says_so(paged: World) -> None:
    """The signature is really looked at."""
    paged.ask()
    paged.store._database.rows("DELETE FROM signing_key WHERE owner = 'entra'")
    assert "its key is not among those that the issuer publishes" in _opened(paged)


REFUSALS = {
    "trailing slash": ("iss", lambda value: value.rstrip("/"), 700211, "Issuer lacks the trailing slash"),
    "case": ("sub", lambda value: value.replace("wi-", "WI-"), 7002138, "Subject differs only in case"),
    "namespace": (
        "sub",
        lambda value: value.replace("kube-system", "default"),
        700213,
        "Subject namespace is default, not kube-system",
    ),
    "audience": ("aud", lambda _: ["https://kubernetes.default.svc"], 700212, "Audience is the API server's"),
}


@pytest.mark.parametrize("claim, change, code, words", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_exchange_says_what_differs(paged: World, claim: str, change: object, code: int, words: str) -> None:
    """In the list, and on its own page beside the credential that was meant, with the command that puts it right."""
    assert callable(change)
    assert paged.present(**{claim: change(paged.claims()[claim])}).code == code
    assert f"{words}" in _text(paged.client.get("/"))
    text = _opened(paged)
    assert words in text
    assert "Nearest is wi-demo-federated-id of 1 that wi-demo-identity had" in text
    assert "az identity federated-credential update --name=wi-demo-federated-id" in text
    assert f"AADSTS{code}: No matching" in text
    html = paged.client.get(_newest(paged)).body.decode()
    assert '<mark class="presented">' in html or '<mark class="expected">' in html


def test_an_identity_without_credentials_gets_the_command_that_makes_one(paged: World) -> None:
    """With the issuer and the subject that were presented."""
    paged.store.delete_federated_credential(paged.identity, "wi-demo-federated-id")
    assert paged.ask().code == 70025
    assert "The identity has no federated credential" in _text(paged.client.get("/"))
    text = _opened(paged)
    assert "az identity federated-credential create --name=" in text
    assert f"--identity-name={paged.identity.name} --resource-group={paged.identity.resource_group}" in text
    assert f"--issuer={paged.issuer_url}" in text
    assert f"--subject={SUBJECT}" in text
    assert "had no federated credential at all" in text


def test_a_credential_that_has_not_propagated_calls_for_patience(paged: World) -> None:
    """Nothing is to be corrected, be it the first one or not."""
    app = create_app(paged.store, BASE_URL, Options(propagation=30, page=True))
    with Client(app, HOST) as paged.client:
        assert paged.ask().code == 70025
        first = _opened(paged)
        paged.clock.now += 30
        paged.store.put_federated_credential(paged.identity, "new", issuer=paged.issuer_url, subject="new")
        assert paged.present(sub="new").code == 70021
        second = _opened(paged)
    for text in (first, second):
        assert "Wait and try again" in text
        assert "az identity" not in text


ADVICE = {
    "a vault": (
        {"scope": "https://my.vault.azure.net/.default"},
        500011,
        "Request a token for https://vault.azure.net: https://my.vault.azure.net belongs to Key Vault",
    ),
    "another cloud": (
        {"scope": "https://vault.usgovcloudapi.net/.default"},
        500011,
        (
            "belongs to Key Vault in AzureUSGovernmentCloud, and this cloud is AzurePublicCloud. Request "
            "https://vault.azure.net in this one, or start the cloud with --azure-cloud AzureUSGovernmentCloud."
        ),
    ),
    "nobody's": ({"scope": "api://nobody/.default"}, 500011, "wisp cloud resource --state"),
    "permission": ({"scope": "User.Read"}, 1002012, "followed by /.default"),
}


@pytest.mark.parametrize("form, code, words", ADVICE.values(), ids=ADVICE)
def test_a_wrong_resource_is_answered_with_the_right_one(
    paged: World, form: dict[str, str], code: int, words: str
) -> None:
    """Where the table of services knows it; no federated credential is to blame."""
    assert paged.ask(**form).code == code
    text = _opened(paged)
    assert words in text
    assert "az identity" not in text


def test_an_assertion_that_is_too_long_lived_names_the_limit(paged: World) -> None:
    """And what to project instead."""
    assert paged.present(exp=int(paged.clock()) + 10**6).code == 70023
    assert "valid for more than 25 hours" in _text(paged.client.get("/"))
    assert "expirationSeconds of 86400" in _opened(paged)


def test_a_self_signed_assertion_is_compared_with_no_credential(paged: World) -> None:
    """No federated credential can accept it."""
    client_id = paged.identity.client_id
    assert paged.present(iss=client_id, sub=client_id).code == 700027
    text = _opened(paged)
    assert "This cloud registers no certificates" in text
    assert "Nearest is" not in text
    assert "had no federated credential" not in text


def test_the_trace_id_that_the_pod_heard_leads_to_the_page(paged: World) -> None:
    """An error in a pod's log is found on the page."""
    trace_id = paged.present(sub="x").json()["trace_id"]
    assert _newest(paged) == f"/exchanges/{trace_id}"


def test_a_refusal_remembers_what_was_trusted_then(paged: World) -> None:
    """Once it is put right the difference is still shown, and that it would be trusted now."""
    subject = SUBJECT.replace("kube-system", "default")
    paged.present(sub=subject)
    assert "would be trusted now" not in _opened(paged)
    paged.store.put_federated_credential(
        paged.identity, "wi-demo-federated-id", issuer=paged.issuer_url, subject=subject
    )
    text = _opened(paged)
    assert "Since then wi-demo-federated-id has come to match: this assertion would be trusted now" in text
    assert "namespace is default, not kube-system" in text


def test_an_expired_assertion_shows_the_time_it_was_late(paged: World) -> None:
    """Everything matches but the time; no federated credential is to blame."""
    assertion = paged.assertion()
    paged.clock.now += 3700
    assert paged.ask(client_assertion=assertion).code == 700024
    text = _opened(paged)
    assert "expired 1 min 40 s before it was presented" in text
    assert "Read the token file again" in text
    assert "az identity" not in text


@pytest.mark.parametrize(
    "key_id, code, words",
    [
        (None, 50027, "does not verify: it was signed with another key"),
        ("other", 7000272, "not among those that the issuer"),
    ],
)
def test_a_wrong_signature_is_told_from_an_unpublished_key(
    paged: World, key_id: str | None, code: int, words: str
) -> None:
    """Both are looked up among the issuer's own keys, offline."""
    forged = replace(paged.issuer.keys[-1], private=new_rsa_key(), key_id=key_id or paged.issuer.keys[-1].key_id)
    assert paged.ask(client_assertion=forged.sign({}, paged.claims()).reveal()).code == code
    assert words in _opened(paged)


def test_an_issuer_elsewhere_is_not_asked_for_its_keys(paged: World) -> None:
    """Looking at the page makes no request."""
    paged.present(iss="https://elsewhere.test/")
    assert "not checked here: the issuer is not one of this cloud's" in _opened(paged)


def test_a_principal_id_taken_for_a_client_id(paged: World) -> None:
    """The commonest wrong client id is recognised."""
    paged.ask(client_id=paged.identity.principal_id)
    text = _opened(paged)
    assert "principal (object) id of wi-demo-identity" in text
    assert paged.identity.client_id in text


def test_an_identity_that_trusts_nobody(paged: World) -> None:
    """There is nothing to compare with, and one way to put it right."""
    paged.store.delete_federated_credential(paged.identity, "wi-demo-federated-id")
    paged.present()
    text = _opened(paged)
    assert "had no federated credential at all" in text
    assert "az identity federated-credential create --name=wi-demo-sa-federated-id" in text


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"client_assertion": "no.jwt"}, "The assertion is not a JWT"),
        ({"client_assertion": "x" * 20_000}, "The assertion is not a JWT"),
        ({"client_assertion": None, "client_secret": "hunter2-hunter2"}, "A client secret was presented"),
        ({"scope": "api://nobody/.default"}, "The tenant knows no such resource"),
        ({"client_id": None}, "A parameter is missing"),
        ({"tenant": GUID}, "The tenant is not this one"),
    ],
)
def test_other_refusals_are_in_plain_words_too(paged: World, changes: dict[str, str | None], words: str) -> None:
    """Without a comparison where there is nothing to compare; a secret is never shown."""
    paged.ask(**changes)
    text = _opened(paged)
    assert words in text
    assert "hunter2" not in text


def test_an_application_is_compared_like_an_identity(paged: World) -> None:
    """With the command that Microsoft Entra has for applications."""
    application = paged.store.principals.put("deployer")
    subject = "system:serviceaccount:ci:ci"
    paged.store.put_federated_credential(application, "ci-job", issuer=paged.issuer_url, subject=subject)
    assert paged.ask(client_id=application.client_id).code == 700213
    text = _opened(paged)
    assert "Nearest is ci-job of 1 that deployer had" in text
    assert (
        f"az ad app federated-credential update --id={application.client_id} --federated-credential-id=ci-job" in text
    )


def test_managed_clusters_are_shown_with_their_issuer(paged: World) -> None:
    """As `az aks create` makes them; one without an issuer says so."""
    group = paged.store.resource_group("WorkloadIdentityRG")
    with_issuer = paged.store.clusters.create(group, "wilab", "eastus", {}, until=paged.clock.now + 9)
    issuer = paged.store.clusters.ensure_issuer(with_issuer).issuer
    paged.store.clusters.create(group, "plain", "eastus", {}, until=0)
    text = _text(paged.client.get("/"))
    assert "plain WorkloadIdentityRG, eastus Succeeded not enabled" in text
    url = paged.store.issuers.named(issuer).path
    assert f"wilab WorkloadIdentityRG, eastus Creating {BASE_URL}{url}" in text


def test_a_token_is_shown_on_demand_only(paged: World) -> None:
    """By our own form, once; looking again hides it."""
    token = paged.ask().json()["access_token"]
    path, mark = _newest(paged), _mark(paged)
    answer = paged.client.post(path, {"mark": mark}, **{"sec-fetch-site": "same-origin", "origin": "null"})
    assert token in _text(answer)
    assert token.encode() not in paged.client.get(path).body


STRANGERS: dict[str, dict[str, str]] = {
    "another site": {"sec-fetch-site": "cross-site"},
    "a sibling": {"sec-fetch-site": "same-site"},
    "another origin": {"origin": "https://evil.test"},
    "plain http": {"origin": "http://cloud.test:8443"},
}


@pytest.mark.parametrize("headers", STRANGERS.values(), ids=STRANGERS)
def test_no_other_site_can_ask_for_a_token(paged: World, headers: dict[str, str]) -> None:
    """Not even one that knows the form's mark."""
    token = paged.ask().json()["access_token"]
    answer = paged.client.post(_newest(paged), {"mark": _mark(paged)}, **headers)
    assert answer.status == 403
    assert token.encode() not in answer.body


@pytest.mark.parametrize("mark", ["", "0" * 64, "é", "x" * 2000])
def test_the_form_must_be_ours(paged: World, mark: str) -> None:
    """A request without the mark of this very exchange is refused."""
    paged.ask()
    older = _mark(paged)
    paged.ask()
    for each in (mark, older):
        assert paged.client.post(_newest(paged), {"mark": each}).status == 403


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1%eth0", "testclient"])
def test_a_token_is_shown_on_this_machine_only(paged: World, app: ASGIApp, address: str) -> None:
    """Where the page was opened to others on purpose, tokens stay here."""
    paged.ask()
    path, mark = _newest(paged), _mark(paged)
    with Client(From(app, address), HOST) as client:
        assert client.get(path).status == 200
        assert client.post(path, {"mark": mark}).status == 403
    with Client(app, HOST) as nobody:
        assert nobody.post(path, {"mark": mark}).status == 403
    with Client(From(app, "::ffff:127.0.0.1"), HOST) as here:
        assert here.post(path, {"mark": mark}).status == 200


def test_a_token_that_opens_more_than_this_cloud_is_not_shown(paged: World) -> None:
    """A principal with a role may get a real cluster's kubeconfig, and anybody on this machine can ask the page."""
    token = paged.ask().json()["access_token"]
    path, mark = _newest(paged), _mark(paged)
    paged.store.assignments.give(paged.identity.principal_id, OWNER, paged.store.subscription().id)
    answer = paged.client.post(path, {"mark": mark})
    assert answer.status == 403
    assert token.encode() not in answer.body
    assert "Show the token" not in _text(paged.client.get(path))
    (given,) = paged.store.assignments.all()
    paged.store.assignments.delete(given.name)
    assert token in _text(paged.client.post(path, {"mark": mark}))


def test_a_refused_exchange_has_no_token_to_show(paged: World) -> None:
    """There is none, whoever asks."""
    paged.present(sub="x")
    assert paged.client.post(_newest(paged), {"mark": "0" * 64}).status == 404


class At:
    """ASGI middleware: connections came in at `address`."""

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self._app({**scope, "server": (self._address, 8443)}, receive, send)


@pytest.mark.parametrize("path", ["/", "/exchanges", "/exchanges/news", "/exchanges/x", "/page/style.css"])
def test_a_page_on_loopback_is_not_on_other_addresses_of_the_same_cloud(world: World, path: str) -> None:
    """Pods that reach the cloud at its other address find no page, whatever Host they send; nor does a nameless one."""
    app = create_app(world.store, BASE_URL, Options(page=True, page_on_loopback_only=True))
    with Client(At(app, "127.0.0.1"), HOST) as here:
        assert "content-security-policy" in here.get(path).headers
    for each in (At(app, "10.201.0.1"), At(app, "fd00::1"), app):
        with Client(each, HOST) as elsewhere:
            answer = elsewhere.get(path)
            assert (answer.status, answer.json()) == (404, {"error": "Not Found", "path": path})
            assert elsewhere.get("/healthz").status == 200


OURS = ["cloud.test:8443", "CLOUD.test", "127.0.0.1:8443", "127.0.0.1:9999", "[::1]:8443", "[::1]"]
THEIRS = [
    "evil.test",
    "evil.test:8443",
    "127.0.0.1.evil.test",
    "cloud.test.",
    "",
    "[::1",
    "::1]",
    "cloud.test:x",
    "a@cloud.test",
]


@pytest.mark.parametrize("host", OURS)
def test_the_page_answers_by_its_names(app: ASGIApp, host: str) -> None:
    """Whatever the port: it may be forwarded."""
    with Client(app, host) as client:
        assert client.get("/").status == 200


@pytest.mark.parametrize("host", THEIRS)
def test_by_another_name_there_is_no_page(app: ASGIApp, host: str) -> None:
    """A name of somebody else's that leads here is how DNS rebinding begins."""
    with Client(app, host) as client:
        for path in ("/", "/exchanges", "/exchanges/news", f"/exchanges/{GUID}", "/page/live.js"):
            answer = client.get(path)
            assert (answer.status, answer.headers["content-type"]) == (421, "text/plain; charset=utf-8")
            assert b"--advertise" in answer.body
        assert client.post(f"/exchanges/{GUID}", {}).status == 421


def test_the_token_endpoint_and_discovery_answer_by_any_name(paged: World, app: ASGIApp) -> None:
    """Pods come by names that the cloud need not know."""
    with Client(app, "evil.test") as client:
        assert client.post(f"/{paged.tenant}/oauth2/v2.0/token", paged.form()).status == 200
        assert client.get(f"{paged.issuer.path}.well-known/openid-configuration").status == 200
        assert client.get("/healthz").status == 200


def test_every_answer_is_protected(paged: World) -> None:
    """Pages, files, refusals and what is not there: nothing is framed, sniffed, stored or shared."""
    paged.ask()
    paths = ("/", "/exchanges", "/exchanges/news", f"/exchanges/{GUID}", _newest(paged), "/page/live.js", "/page/x")
    answers = [paged.client.get(path) for path in paths]
    answers.append(paged.client.post(_newest(paged), {}))
    for answer in answers:
        assert {name: answer.headers.get(name.lower()) for name in PROTECTION} == PROTECTION
        assert "access-control-allow-origin" not in answer.headers
    assert "'unsafe" not in PROTECTION["Content-Security-Policy"]
    assert [each.status for each in answers] == [200, 200, 200, 404, 200, 200, 404, 403]


def test_no_page_has_a_script_or_a_style_of_its_own(paged: World) -> None:
    """The content security policy would stop it: there is one script and one style sheet, both files."""
    paged.ask()
    paged.present(sub="x")
    for path in ("/", "/exchanges", _newest(paged)):
        html = paged.client.get(path).body.decode()
        assert re.findall(r"<script[^>]*>", html) == ['<script src="/page/live.js" defer>']
        assert "style=" not in html
        assert not re.search(r"\son\w+=", html)
        assert "http-equiv" not in html


FIELDS = ["iss", "sub", "aud", "jti", "nbf", "exp", SCRIPT]


@pytest.mark.parametrize("claim", FIELDS)
def test_no_claim_is_markup(paged: World, claim: str) -> None:
    """Whatever an assertion holds is text."""
    paged.present(**{claim: SCRIPT})
    _is_harmless(paged)


@pytest.mark.parametrize("field", ["client_id", "scope", "tenant", "client_assertion", "grant_type"])
def test_no_parameter_is_markup(paged: World, field: str) -> None:
    """Whatever a request holds is text."""
    paged.client.post(
        f"/{SCRIPT.replace('/', '') if field == 'tenant' else paged.tenant}/oauth2/v2.0/token",
        {**paged.form(), **({field: SCRIPT} if field != "tenant" else {})},
    )
    _is_harmless(paged)


def test_no_header_of_an_assertion_and_no_name_is_markup(paged: World) -> None:
    """Nor is what a federated credential holds, or what was searched for."""
    key = paged.issuer.keys[-1]
    paged.ask(client_assertion=key.sign({"x5t": SCRIPT}, paged.claims(sub="x")).reveal())
    _is_harmless(paged)
    paged.store.put_federated_credential(paged.identity, "x-x", issuer="https://x.test", subject=SCRIPT)
    paged.present(iss="https://x.test", sub="y")
    _is_harmless(paged)
    answer = paged.client.get("/?identity=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert b"<script>" not in answer.body


def _is_harmless(world: World) -> None:
    for path in ("/", "/exchanges", "/exchanges/news", _newest(world)):
        answer = world.client.get(path)
        assert answer.status == 200
        assert b"<script>" not in answer.body
        assert b"<img src=x" not in answer.body


def test_halves_of_characters_and_direction_marks_are_spelled_out(paged: World) -> None:
    """JSON may hold what UTF-8 cannot, and what would turn the page's text around."""
    paged.present(jti="\ud800", sub="\u202egnp.exe")
    text = _opened(paged)
    assert "[U+D800]" in text
    assert "[U+202E]gnp.exe" in text


def test_news_are_lines_for_the_list(paged: World) -> None:
    """Only what the browser has not seen; 204 for nothing new; 205 when its list is another server's."""
    assert paged.client.get("/exchanges/news?after=").status == 204
    paged.ask()
    seen = _newest(paged).rpartition("/")[2]
    assert paged.client.get(f"/exchanges/news?after={seen}").status == 204
    paged.present(sub="x")
    answer = paged.client.get(f"/exchanges/news?after={seen}")
    assert answer.body.count(b"<tr") == 1
    assert b"<html" not in answer.body
    assert paged.client.get("/exchanges/news?after=").body.count(b"<tr") == 2
    assert paged.client.get(f"/exchanges/news?after={GUID}").status == 205


def test_asking_for_news_is_not_logged(paged: World) -> None:
    """A page that is left open must not fill the log."""
    paged.client.get("/exchanges/news?after=")
    paged.client.get("/")
    assert [each["path"] for each in paged.log] == ["/"]


def test_the_record_is_bounded(paged: World) -> None:
    """The oldest exchanges are forgotten, and say so."""
    paged.ask(client_id=GUID)
    first = _newest(paged)
    for _ in range(RECORDED):
        paged.ask(client_id=GUID)
    text = _text(paged.client.get("/exchanges"))
    assert text.count("refused: details") == RECORDED
    assert f"All {RECORDED} exchanges" in _text(paged.client.get("/"))
    answer = paged.client.get(first)
    assert answer.status == 404
    assert "No such exchange" in _text(answer)


def test_no_token_is_written_to_a_file(paged: World) -> None:
    """What the page knows is in memory: the state file and its log hold neither token nor assertion."""
    form = paged.form()
    token = paged.client.post(f"/{paged.tenant}/oauth2/v2.0/token", form).json()["access_token"]
    paged.client.get("/")
    files = list(paged.store.path.parent.iterdir())
    assert files
    for file in files:
        content = file.read_bytes()
        assert token.rpartition(".")[2].encode() not in content
        assert form["client_assertion"].rpartition(".")[2].encode() not in content


def test_ten_thousand_identities_are_shown_in_pages(paged: World) -> None:
    """Fifty at a time, found by a part of their name."""
    rows = ",".join(
        f"('s', 'WorkloadIdentityRG', 'many-{n:05}', 'eastus', 'c{n}', 'p{n}', '{paged.tenant}')" for n in range(120)
    )
    columns = "subscription_id, resource_group, name, location, client_id, principal_id, tenant_id"
    rows = rows.replace("'s'", f"'{paged.identity.subscription_id}'")
    paged.store._database.rows(f"INSERT INTO identity ({columns}) VALUES {rows}")  # noqa: S608 -- the test's own
    text = _text(paged.client.get("/"))
    assert "Page 1 of 3, 121 identities" in text
    assert text.count("many-000") == 50
    assert "many-00119" in _text(paged.client.get("/?page=3"))
    assert "Page 3 of 3" in _text(paged.client.get("/?page=99999999"))
    for page in ("-1", "x", "0", "9" * 99, "²"):
        assert "Page 1 of 3" in _text(paged.client.get(f"/?page={page}"))
    assert "many-00077" in _text(paged.client.get("/?identity=0007"))
    assert "No identity has “nobody” in its name" in _text(paged.client.get("/?identity=nobody"))


def test_static_files_are_these_three(paged: World) -> None:
    """Nothing else of the file system is to be had."""
    for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        assert paged.client.get(f"/page/{name}").headers["content-type"].startswith(kind)
    for name in ("..%2f__init__.py", "app.py", "../static/live.js", ""):
        assert paged.client.get(f"/page/{name}").status == 404


def test_nothing_on_the_page_comes_from_elsewhere() -> None:
    """No font, script or style of another server, and no source map."""
    folder = Path(guard.__file__).parent
    for file in [*folder.glob("templates/*"), *folder.glob("static/*")]:
        found = re.findall(r"(?:src|href|url\(|@import|fetch\()\W*(?:https?:)?//", file.read_text())
        assert not found, file.name
