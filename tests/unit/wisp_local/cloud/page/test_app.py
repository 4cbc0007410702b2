"""The page over HTTP: what it shows, and to whom."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.wisp_local.cloud.asgi import Answer, Client
from tests.unit.wisp_local.cloud.page.conftest import HOST, ComingFrom
from tests.unit.wisp_local.cloud.small_azure import ARM, BASE_URL, SUBJECT, SmallAzure
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.cluster import Activity, IdentityBinding, ManagedCluster
from wisp_local.cloud.issuer import new_rsa_key
from wisp_local.cloud.page import guard
from wisp_local.cloud.page.guard import PROTECTION
from wisp_local.cloud.page.record import RECORDED
from wisp_local.cloud.roles import OWNER

GUID = "11111111-2222-4333-8444-555555555555"
SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


def _text(answer: Answer) -> str:
    """Return what can be read on the page, without tags and runs of space."""
    with_cells = re.sub(r"</t[hd]>", " ", answer.body.decode())
    without_tags = re.sub(r"<[^>]*>", "", with_cells)
    return " ".join(unescape(without_tags).split())


def _newest(azure: SmallAzure) -> str:
    """Return the path of the newest exchange."""
    found = re.search(r'href="(/exchanges/[^"]+)"', azure.client.get("/").body.decode())
    assert found is not None
    return found[1]


def _newest_text(azure: SmallAzure) -> str:
    answer = azure.client.get(_newest(azure))
    assert answer.status == 200
    return _text(answer)


def _mark(azure: SmallAzure) -> str:
    found = re.search(r'name="mark" value="([0-9a-f]{64})"', azure.client.get(_newest(azure)).body.decode())
    assert found is not None
    return found[1]


def test_cloud_without_a_page_has_no_such_routes(azure: SmallAzure) -> None:
    """Without the option there is neither a record nor a page."""
    assert [azure.client.get(path).status for path in ("/", "/exchanges", "/page/style.css")] == [404] * 3


def test_front_page_lists_identities_credentials_and_issuers(page_azure: SmallAzure) -> None:
    """Issuers have links to the documents that they publish."""
    page_azure.store.put_identity("WorkloadIdentityRG", "nobody-trusts", "eastus")
    text, html = _text(page_azure.client.get("/")), page_azure.client.get("/").body.decode()
    for value in (
        page_azure.identity.client_id,
        page_azure.identity.principal_id,
        SUBJECT,
        page_azure.issuer_url,
        page_azure.tenant,
    ):
        assert value in text
    assert "Trusts nobody yet" in text
    for path in re.findall(r'href="(/oidc/[^"]+)"', html):
        assert page_azure.client.get(path).status == 200
    assert html.count('href="/oidc/') == 2


def test_granted_exchange_is_decoded_without_its_token(page_azure: SmallAzure) -> None:
    """What jwt.io shows: header, payload, readable times, and the signature verified; but not the token."""
    token = page_azure.ask().json()["access_token"]
    answer = page_azure.client.get(_newest(page_azure))
    text = _text(answer)
    for part in (f'"{ARM}"', "xms_cae", page_azure.identity.resource_id, "expires 2025-10-10 08:53:20 UTC, in 1 d"):
        assert part in text
    assert "Signature: verified with this cloud" in text
    assert "wi-demo-federated-id trusts exactly what was presented" in text
    for page in (
        answer,
        page_azure.client.get("/"),
        page_azure.client.get("/exchanges"),
        page_azure.client.get("/exchanges/news"),
    ):
        assert token.encode() not in page.body
        assert token.rpartition(".")[2].encode() not in page.body


def test_token_whose_key_is_gone_does_not_verify(page_azure: SmallAzure) -> None:
    """The signature is checked when the page is shown."""
    page_azure.ask()
    page_azure.store._database.rows("DELETE FROM signing_key WHERE owner = 'entra'")
    assert "its key is not among those that the issuer publishes" in _newest_text(page_azure)


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
def test_refused_exchange_shows_difference_and_command(
    page_azure: SmallAzure, claim: str, change: object, code: int, words: str
) -> None:
    """The list says what differs; the exchange shows the nearest credential and the command that corrects it."""
    assert callable(change)
    assert page_azure.present(**{claim: change(page_azure.claims()[claim])}).code == code
    assert f"{words}" in _text(page_azure.client.get("/"))
    text = _newest_text(page_azure)
    assert words in text
    assert "Nearest is wi-demo-federated-id of 1 that wi-demo-identity had" in text
    assert "az identity federated-credential update --name=wi-demo-federated-id" in text
    assert f"AADSTS{code}: No matching" in text
    html = page_azure.client.get(_newest(page_azure)).body.decode()
    assert '<mark class="presented">' in html or '<mark class="expected">' in html


def test_identity_without_credentials_gets_a_create_command(page_azure: SmallAzure) -> None:
    """The command holds the issuer and the subject that were presented."""
    page_azure.store.delete_federated_credential(page_azure.identity, "wi-demo-federated-id")
    assert page_azure.ask().code == 70025
    assert "The identity has no federated credential" in _text(page_azure.client.get("/"))
    text = _newest_text(page_azure)
    assert "az identity federated-credential create --name=" in text
    assert f"--identity-name={page_azure.identity.name} --resource-group={page_azure.identity.resource_group}" in text
    assert f"--issuer={page_azure.issuer_url}" in text
    assert f"--subject={SUBJECT}" in text
    assert "had no federated credential at all" in text


def test_credential_that_has_not_propagated_needs_no_correction(page_azure: SmallAzure) -> None:
    """This holds for the first credential and for later ones."""
    app = create_app(page_azure.store, BASE_URL, Options(propagation=30, page=True))
    with Client(app, HOST) as page_azure.client:
        assert page_azure.ask().code == 70025
        first = _newest_text(page_azure)
        page_azure.clock.now += 30
        page_azure.store.put_federated_credential(
            page_azure.identity, "new", issuer=page_azure.issuer_url, subject="new"
        )
        assert page_azure.present(sub="new").code == 70021
        second = _newest_text(page_azure)
    for text in (first, second):
        assert "Wait and try again" in text
        assert "az identity" not in text


FIXES = {
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


@pytest.mark.parametrize("form, code, words", FIXES.values(), ids=FIXES)
def test_wrong_resource_is_answered_with_the_right_one(
    page_azure: SmallAzure, form: dict[str, str], code: int, words: str
) -> None:
    """The table of services knows it; no federated credential is to blame."""
    assert page_azure.ask(**form).code == code
    text = _newest_text(page_azure)
    assert words in text
    assert "az identity" not in text


def test_too_long_lived_assertion_names_the_limit(page_azure: SmallAzure) -> None:
    """The advice says what to project instead."""
    assert page_azure.present(exp=int(page_azure.clock()) + 10**6).code == 70023
    assert "valid for more than 25 hours" in _text(page_azure.client.get("/"))
    assert "expirationSeconds of 86400" in _newest_text(page_azure)


def test_self_signed_assertion_is_compared_with_no_credential(page_azure: SmallAzure) -> None:
    """No federated credential can accept it."""
    client_id = page_azure.identity.client_id
    assert page_azure.present(iss=client_id, sub=client_id).code == 700027
    text = _newest_text(page_azure)
    assert "This cloud registers no certificates" in text
    assert "Nearest is" not in text
    assert "had no federated credential" not in text


def test_trace_id_in_the_answer_is_the_address_of_the_exchange(page_azure: SmallAzure) -> None:
    """An error in a pod's log is found on the page."""
    trace_id = page_azure.present(sub="x").json()["trace_id"]
    assert _newest(page_azure) == f"/exchanges/{trace_id}"


def test_refusal_keeps_the_credentials_of_its_time(page_azure: SmallAzure) -> None:
    """After a correction the difference is still shown, and that the assertion would be trusted now."""
    subject = SUBJECT.replace("kube-system", "default")
    page_azure.present(sub=subject)
    assert "would be trusted now" not in _newest_text(page_azure)
    page_azure.store.put_federated_credential(
        page_azure.identity, "wi-demo-federated-id", issuer=page_azure.issuer_url, subject=subject
    )
    text = _newest_text(page_azure)
    assert "Since then wi-demo-federated-id has come to match: this assertion would be trusted now" in text
    assert "namespace is default, not kube-system" in text


def test_expired_assertion_shows_how_late_it_was(page_azure: SmallAzure) -> None:
    """Everything matches but the time; no federated credential is to blame."""
    assertion = page_azure.assertion()
    page_azure.clock.now += 3700
    assert page_azure.ask(client_assertion=assertion).code == 700024
    text = _newest_text(page_azure)
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
def test_wrong_signature_and_unpublished_key_are_distinguished(
    page_azure: SmallAzure, key_id: str | None, code: int, words: str
) -> None:
    """Both are looked up among the issuer's own keys, offline."""
    forged = replace(
        page_azure.issuer.keys[-1], private=new_rsa_key(), key_id=key_id or page_azure.issuer.keys[-1].key_id
    )
    assert page_azure.ask(client_assertion=forged.sign({}, page_azure.claims()).reveal()).code == code
    assert words in _newest_text(page_azure)


def test_keys_of_other_issuers_are_not_fetched(page_azure: SmallAzure) -> None:
    """Looking at the page makes no request."""
    page_azure.present(iss="https://elsewhere.test/")
    assert "not checked here: the issuer is not one of this cloud's" in _newest_text(page_azure)


def test_principal_id_used_as_client_id_is_recognised(page_azure: SmallAzure) -> None:
    """The commonest wrong client id is recognised."""
    page_azure.ask(client_id=page_azure.identity.principal_id)
    text = _newest_text(page_azure)
    assert "principal (object) id of wi-demo-identity" in text
    assert page_azure.identity.client_id in text


def test_mismatch_without_credentials_has_one_remedy(page_azure: SmallAzure) -> None:
    """There is nothing to compare with; the remedy is to create a credential."""
    page_azure.store.delete_federated_credential(page_azure.identity, "wi-demo-federated-id")
    page_azure.present()
    text = _newest_text(page_azure)
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
def test_other_refusals_are_explained_without_a_comparison(
    page_azure: SmallAzure, changes: dict[str, str | None], words: str
) -> None:
    """A client secret is never shown."""
    page_azure.ask(**changes)
    text = _newest_text(page_azure)
    assert words in text
    assert "hunter2" not in text


def test_application_is_compared_like_an_identity(page_azure: SmallAzure) -> None:
    """The command is that of Microsoft Entra for applications."""
    application = page_azure.store.principals.put("deployer")
    subject = "system:serviceaccount:ci:ci"
    page_azure.store.put_federated_credential(application, "ci-job", issuer=page_azure.issuer_url, subject=subject)
    assert page_azure.ask(client_id=application.client_id).code == 700213
    text = _newest_text(page_azure)
    assert "Nearest is ci-job of 1 that deployer had" in text
    assert (
        f"az ad app federated-credential update --id={application.client_id} --federated-credential-id=ci-job" in text
    )


def test_managed_clusters_are_listed_with_their_issuers_and_bindings(page_azure: SmallAzure) -> None:
    """A cluster without an issuer or an identity binding says so."""
    group = page_azure.store.resource_group("WorkloadIdentityRG")
    with_issuer = page_azure.store.clusters.create(group, "wilab", "eastus", {}, until=page_azure.clock.now + 9)
    issuer = page_azure.store.clusters.ensure_issuer(with_issuer).issuer
    page_azure.store.clusters.create(group, "plain", "eastus", {}, until=0)
    page_azure.store.bindings.put(_binding(page_azure, with_issuer))
    text = _text(page_azure.client.get("/"))
    assert "plain WorkloadIdentityRG, eastus Succeeded not enabled none" in text
    url = page_azure.store.issuers.named(issuer).path
    assert f"wilab WorkloadIdentityRG, eastus Creating {BASE_URL}{url} ib to wi-demo-identity" in text


def _binding(azure: SmallAzure, cluster: ManagedCluster) -> IdentityBinding:
    identity, place = azure.identity, (cluster.subscription_id, cluster.resource_group, cluster.name)
    ids = (identity.resource_id, identity.client_id, identity.principal_id)
    return IdentityBinding(*place, "ib", *ids, azure.issuer_url, Activity.CREATING, 0)


def test_token_is_shown_only_on_demand(page_azure: SmallAzure) -> None:
    """The page's own form shows it once; opening the exchange again hides it."""
    token = page_azure.ask().json()["access_token"]
    path, mark = _newest(page_azure), _mark(page_azure)
    answer = page_azure.client.post(path, {"mark": mark}, **{"sec-fetch-site": "same-origin", "origin": "null"})
    assert token in _text(answer)
    assert token.encode() not in page_azure.client.get(path).body


OTHER_SITES: dict[str, dict[str, str]] = {
    "another site": {"sec-fetch-site": "cross-site"},
    "a sibling": {"sec-fetch-site": "same-site"},
    "another origin": {"origin": "https://evil.test"},
    "plain http": {"origin": "http://cloud.test:8443"},
}


@pytest.mark.parametrize("headers", OTHER_SITES.values(), ids=OTHER_SITES)
def test_other_sites_cannot_request_a_token(page_azure: SmallAzure, headers: dict[str, str]) -> None:
    """This holds even for a site that knows the form's mark."""
    token = page_azure.ask().json()["access_token"]
    answer = page_azure.client.post(_newest(page_azure), {"mark": _mark(page_azure)}, **headers)
    assert answer.status == 403
    assert token.encode() not in answer.body


@pytest.mark.parametrize("mark", ["", "0" * 64, "é", "x" * 2000])
def test_token_request_needs_the_mark_of_this_exchange(page_azure: SmallAzure, mark: str) -> None:
    """The mark of another exchange is refused."""
    page_azure.ask()
    older = _mark(page_azure)
    page_azure.ask()
    for each in (mark, older):
        assert page_azure.client.post(_newest(page_azure), {"mark": each}).status == 403


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1%eth0", "testclient"])
def test_token_is_shown_only_on_this_machine(page_azure: SmallAzure, app: ASGIApp, address: str) -> None:
    """With --page other machines see the page, but no tokens."""
    page_azure.ask()
    path, mark = _newest(page_azure), _mark(page_azure)
    with Client(ComingFrom(app, address), HOST) as client:
        assert client.get(path).status == 200
        assert client.post(path, {"mark": mark}).status == 403
    with Client(app, HOST) as nobody:
        assert nobody.post(path, {"mark": mark}).status == 403
    with Client(ComingFrom(app, "::ffff:127.0.0.1"), HOST) as here:
        assert here.post(path, {"mark": mark}).status == 200


def test_token_of_a_principal_with_a_role_is_not_shown(page_azure: SmallAzure) -> None:
    """A principal with a role may get a real cluster's kubeconfig, and anybody on this machine can ask the page."""
    token = page_azure.ask().json()["access_token"]
    path, mark = _newest(page_azure), _mark(page_azure)
    page_azure.store.assignments.give(page_azure.identity.principal_id, OWNER, page_azure.store.subscription().id)
    answer = page_azure.client.post(path, {"mark": mark})
    assert answer.status == 403
    assert token.encode() not in answer.body
    assert "Show the token" not in _text(page_azure.client.get(path))
    (given,) = page_azure.store.assignments.all()
    page_azure.store.assignments.delete(given.name)
    assert token in _text(page_azure.client.post(path, {"mark": mark}))


def test_refused_exchange_has_no_token(page_azure: SmallAzure) -> None:
    """A request for it is a 404."""
    page_azure.present(sub="x")
    assert page_azure.client.post(_newest(page_azure), {"mark": "0" * 64}).status == 404


class ArrivingAt:
    """ASGI middleware: connections came in at `address`."""

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self._app({**scope, "server": (self._address, 8443)}, receive, send)


@pytest.mark.parametrize("path", ["/", "/exchanges", "/exchanges/news", "/exchanges/x", "/page/style.css"])
def test_page_on_loopback_is_not_on_other_addresses(azure: SmallAzure, path: str) -> None:
    """Pods that reach the cloud at its other address find no page, whatever Host they send."""
    app = create_app(azure.store, BASE_URL, Options(page=True, page_on_loopback_only=True))
    with Client(ArrivingAt(app, "127.0.0.1"), HOST) as here:
        assert "content-security-policy" in here.get(path).headers
    for each in (ArrivingAt(app, "10.201.0.1"), ArrivingAt(app, "fd00::1"), app):
        with Client(each, HOST) as elsewhere:
            answer = elsewhere.get(path)
            assert (answer.status, answer.json()) == (404, {"error": "Not Found", "path": path})
            assert elsewhere.get("/healthz").status == 200


OWN_NAMES = ["cloud.test:8443", "CLOUD.test", "127.0.0.1:8443", "127.0.0.1:9999", "[::1]:8443", "[::1]"]
OTHER_NAMES = [
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


@pytest.mark.parametrize("host", OWN_NAMES)
def test_page_answers_to_its_own_names(app: ASGIApp, host: str) -> None:
    """Any port is accepted: it may be forwarded."""
    with Client(app, host) as client:
        assert client.get("/").status == 200


@pytest.mark.parametrize("host", OTHER_NAMES)
def test_page_does_not_answer_to_other_names(app: ASGIApp, host: str) -> None:
    """DNS rebinding uses another name that resolves to this address."""
    with Client(app, host) as client:
        for path in ("/", "/exchanges", "/exchanges/news", f"/exchanges/{GUID}", "/page/live.js"):
            answer = client.get(path)
            assert (answer.status, answer.headers["content-type"]) == (421, "text/plain; charset=utf-8")
            assert b"--advertise" in answer.body
        assert client.post(f"/exchanges/{GUID}", {}).status == 421


def test_token_endpoint_and_discovery_answer_to_any_name(page_azure: SmallAzure, app: ASGIApp) -> None:
    """Pods use names that the cloud need not know."""
    with Client(app, "evil.test") as client:
        assert client.post(f"/{page_azure.tenant}/oauth2/v2.0/token", page_azure.form()).status == 200
        assert client.get(f"{page_azure.issuer.path}.well-known/openid-configuration").status == 200
        assert client.get("/healthz").status == 200


def test_every_answer_has_the_protecting_headers(page_azure: SmallAzure) -> None:
    """This includes pages, files, refusals and 404s: nothing is framed, sniffed, stored or shared."""
    page_azure.ask()
    paths = (
        "/",
        "/exchanges",
        "/exchanges/news",
        f"/exchanges/{GUID}",
        _newest(page_azure),
        "/page/live.js",
        "/page/x",
    )
    answers = [page_azure.client.get(path) for path in paths]
    answers.append(page_azure.client.post(_newest(page_azure), {}))
    for answer in answers:
        assert {name: answer.headers.get(name.lower()) for name in PROTECTION} == PROTECTION
        assert "access-control-allow-origin" not in answer.headers
    assert "'unsafe" not in PROTECTION["Content-Security-Policy"]
    assert [each.status for each in answers] == [200, 200, 200, 404, 200, 200, 404, 403]


def test_pages_have_no_inline_script_or_style(page_azure: SmallAzure) -> None:
    """The content security policy allows only the one script file and the one style sheet."""
    page_azure.ask()
    page_azure.present(sub="x")
    for path in ("/", "/exchanges", _newest(page_azure)):
        html = page_azure.client.get(path).body.decode()
        assert re.findall(r"<script[^>]*>", html) == ['<script src="/page/live.js" defer>']
        assert "style=" not in html
        assert not re.search(r"\son\w+=", html)
        assert "http-equiv" not in html


FIELDS = ["iss", "sub", "aud", "jti", "nbf", "exp", SCRIPT]


@pytest.mark.parametrize("claim", FIELDS)
def test_claims_are_escaped(page_azure: SmallAzure, claim: str) -> None:
    """The content of an assertion is shown as text."""
    page_azure.present(**{claim: SCRIPT})
    _is_harmless(page_azure)


@pytest.mark.parametrize("field", ["client_id", "scope", "tenant", "client_assertion", "grant_type"])
def test_request_parameters_are_escaped(page_azure: SmallAzure, field: str) -> None:
    """The content of a request is shown as text."""
    page_azure.client.post(
        f"/{SCRIPT.replace('/', '') if field == 'tenant' else page_azure.tenant}/oauth2/v2.0/token",
        {**page_azure.form(), **({field: SCRIPT} if field != "tenant" else {})},
    )
    _is_harmless(page_azure)


def test_assertion_headers_names_and_searches_are_escaped(page_azure: SmallAzure) -> None:
    """The same is true of federated credentials and of the search."""
    key = page_azure.issuer.keys[-1]
    page_azure.ask(client_assertion=key.sign({"x5t": SCRIPT}, page_azure.claims(sub="x")).reveal())
    _is_harmless(page_azure)
    page_azure.store.put_federated_credential(page_azure.identity, "x-x", issuer="https://x.test", subject=SCRIPT)
    page_azure.present(iss="https://x.test", sub="y")
    _is_harmless(page_azure)
    answer = page_azure.client.get("/?identity=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert b"<script>" not in answer.body


def _is_harmless(azure: SmallAzure) -> None:
    for path in ("/", "/exchanges", "/exchanges/news", _newest(azure)):
        answer = azure.client.get(path)
        assert answer.status == 200
        assert b"<script>" not in answer.body
        assert b"<img src=x" not in answer.body


def test_surrogates_and_direction_marks_are_spelled_out(page_azure: SmallAzure) -> None:
    """JSON can hold what UTF-8 cannot, and characters that reverse the text."""
    page_azure.present(jti="\ud800", sub="\u202egnp.exe")
    text = _newest_text(page_azure)
    assert "[U+D800]" in text
    assert "[U+202E]gnp.exe" in text


def test_news_are_the_new_rows_of_the_list(page_azure: SmallAzure) -> None:
    """204 without new rows; 205 when the browser's list is another server's."""
    assert page_azure.client.get("/exchanges/news?after=").status == 204
    page_azure.ask()
    seen = _newest(page_azure).rpartition("/")[2]
    assert page_azure.client.get(f"/exchanges/news?after={seen}").status == 204
    page_azure.present(sub="x")
    answer = page_azure.client.get(f"/exchanges/news?after={seen}")
    assert answer.body.count(b"<tr") == 1
    assert b"<html" not in answer.body
    assert page_azure.client.get("/exchanges/news?after=").body.count(b"<tr") == 2
    assert page_azure.client.get(f"/exchanges/news?after={GUID}").status == 205


def test_requests_for_news_are_not_logged(page_azure: SmallAzure) -> None:
    """A page that is left open must not fill the log."""
    page_azure.client.get("/exchanges/news?after=")
    page_azure.client.get("/")
    assert [each["path"] for each in page_azure.log] == ["/"]


def test_record_keeps_the_newest_exchanges(page_azure: SmallAzure) -> None:
    """The page of an older exchange says that it is gone."""
    page_azure.ask(client_id=GUID)
    first = _newest(page_azure)
    for _ in range(RECORDED):
        page_azure.ask(client_id=GUID)
    text = _text(page_azure.client.get("/exchanges"))
    assert text.count("refused: details") == RECORDED
    assert f"All {RECORDED} exchanges" in _text(page_azure.client.get("/"))
    answer = page_azure.client.get(first)
    assert answer.status == 404
    assert "No such exchange" in _text(answer)


def test_tokens_and_assertions_are_not_written_to_files(page_azure: SmallAzure) -> None:
    """What the page knows is in memory: the state file and its log hold neither token nor assertion."""
    form = page_azure.form()
    token = page_azure.client.post(f"/{page_azure.tenant}/oauth2/v2.0/token", form).json()["access_token"]
    page_azure.client.get("/")
    files = list(page_azure.store.path.parent.iterdir())
    assert files
    for file in files:
        content = file.read_bytes()
        assert token.rpartition(".")[2].encode() not in content
        assert form["client_assertion"].rpartition(".")[2].encode() not in content


def test_identities_are_paged_and_searched(page_azure: SmallAzure) -> None:
    """Fifty are on a page, and a part of the name finds them."""
    rows = ",".join(
        f"('s', 'WorkloadIdentityRG', 'many-{n:05}', 'eastus', 'c{n}', 'p{n}', '{page_azure.tenant}')"
        for n in range(120)
    )
    columns = "subscription_id, resource_group, name, location, client_id, principal_id, tenant_id"
    rows = rows.replace("'s'", f"'{page_azure.identity.subscription_id}'")
    page_azure.store._database.rows(f"INSERT INTO identity ({columns}) VALUES {rows}")  # noqa: S608 -- the test's own
    text = _text(page_azure.client.get("/"))
    assert "Page 1 of 3, 121 identities" in text
    assert text.count("many-000") == 50
    assert "many-00119" in _text(page_azure.client.get("/?page=3"))
    assert "Page 3 of 3" in _text(page_azure.client.get("/?page=99999999"))
    for page in ("-1", "x", "0", "9" * 99, "²"):
        assert "Page 1 of 3" in _text(page_azure.client.get(f"/?page={page}"))
    assert "many-00077" in _text(page_azure.client.get("/?identity=0007"))
    assert "No identity has “nobody” in its name" in _text(page_azure.client.get("/?identity=nobody"))


def test_only_three_static_files_are_served(page_azure: SmallAzure) -> None:
    """No other file can be read."""
    for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        assert page_azure.client.get(f"/page/{name}").headers["content-type"].startswith(kind)
    for name in ("..%2f__init__.py", "app.py", "../static/live.js", ""):
        assert page_azure.client.get(f"/page/{name}").status == 404


def test_page_refers_to_no_other_server() -> None:
    """No font, script or style of another server, and no source map."""
    folder = Path(guard.__file__).parent
    for file in [*folder.glob("templates/*"), *folder.glob("static/*")]:
        found = re.findall(r"(?:src|href|url\(|@import|fetch\()\W*(?:https?:)?//", file.read_text())
        assert not found, file.name
