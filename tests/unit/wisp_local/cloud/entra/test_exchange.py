"""Every refusal of the token endpoint, over HTTP."""

import base64
import hmac
import json
import re
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc.jwk import ECKey

from tests.unit.wisp_local.cloud.asgi import Answer, Client
from tests.unit.wisp_local.cloud.small_azure import ARM, BASE_URL, NOW, SmallAzure
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.issuer import SigningKey, new_rsa_key

GUID = "11111111-2222-4333-8444-555555555555"


def _elsewhere(azure: SmallAzure, claims: dict[str, object]) -> Answer:
    """Present a credential of an issuer that cannot be reached."""
    url = "https://elsewhere.test/"
    azure.store.put_federated_credential(azure.identity, "elsewhere", issuer=url, subject="me")
    return azure.present(iss=url, sub="me", **claims)


def _signed(azure: SmallAzure, algorithm: str, key: ECKey) -> str:
    header = {"alg": algorithm, "kid": azure.issuer.keys[-1].key_id}
    payload = azure.assertion().split(".")[1]
    return jws.serialize_compact(header, _decoded(payload), key, algorithms=[algorithm])


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "==")


def _with_public_key_as_secret(azure: SmallAzure) -> str:
    """Sign with HS256 and the public key's PEM, the classic confusion; by hand, as joserfc refuses to."""
    key = azure.issuer.keys[-1]
    header = _encoded(json.dumps({"alg": "HS256", "kid": key.key_id}).encode())
    signed = f"{header}.{azure.assertion().split('.')[1]}"
    return f"{signed}.{_encoded(hmac.digest(key.public.as_pem(private=False), signed.encode(), 'sha256'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unsigned(azure: SmallAzure) -> str:
    _, payload, _ = azure.assertion().split(".")
    return f"eyJhbGciOiJub25lIn0.{payload}."


def _forged(azure: SmallAzure) -> str:
    """Sign the right claims with somebody else's key under the right kid."""
    return SigningKey(azure.issuer.keys[-1].key_id, new_rsa_key(), {}).sign({}, azure.claims()).reveal()


def _tampered(azure: SmallAzure) -> str:
    head, _, signature = azure.assertion(sub="system:serviceaccount:kube-system:other").split(".")
    return f"{head}.{azure.assertion().split('.')[1]}.{signature}"


def _of_unknown_key(azure: SmallAzure) -> str:
    return SigningKey("nobody-knows", azure.issuer.keys[-1].private, {}).sign({}, azure.claims()).reveal()


def _without_kid(azure: SmallAzure) -> str:
    key = azure.issuer.keys[-1]
    return jws.serialize_compact({"alg": "RS256"}, b"{}", key.public.import_key(key.private), algorithms=["RS256"])


def _of_type(azure: SmallAzure) -> str:
    return azure.issuer.keys[-1].sign({"typ": "at+jwt"}, azure.claims()).reveal()


def _with_header(azure: SmallAzure, **header: object) -> str:
    """Sign the walk-through's claims under a header that our own signing would not write."""
    key = azure.issuer.keys[-1]
    full = {"alg": "RS256", "kid": key.key_id, **header}
    parts = (json.dumps(part).encode() for part in (full, azure.claims()))
    signed = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    signature = key.private.sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _without_credentials(azure: SmallAzure) -> SmallAzure:
    for credential in azure.store.federated_credentials(azure.identity):
        azure.store.delete_federated_credential(azure.identity, credential.name)
    return azure


def _by_entra(azure: SmallAzure, tenant: str, url: str = "https://login.microsoftonline.com/{}/v2.0") -> Answer:
    """Present a credential of Entra's that the identity trusts, for which nobody is asked."""
    issuer = url.format(tenant)
    azure.store.put_federated_credential(azure.identity, "entra", issuer=issuer, subject="me")
    return azure.present(iss=issuer, sub="me")


def _by_certificate(azure: SmallAzure) -> Answer:
    """Present what an SDK's certificate credential makes: issued by the client, with a thumbprint and no kid."""
    client_id = azure.identity.client_id
    header = {"alg": "PS256", "x5t": "gx8tGysyjcRqKjFPnd7RFwvwZI0"}
    claims = {
        **azure.claims(iss=client_id, sub=client_id),
        "aud": "https://login.microsoftonline.com/t/oauth2/v2.0/token",
    }
    key = azure.issuer.keys[-1].private
    token = jws.serialize_compact(
        header, json.dumps(claims), azure.issuer.keys[-1].public.import_key(key), algorithms=["PS256"]
    )
    return azure.ask(client_assertion=token)


CASES: list[tuple[str, Callable[[SmallAzure], Answer], int, str, int]] = [
    ("tenant unknown", lambda w: w.ask(tenant=GUID), 90002, "invalid_request", 400),
    ("tenant a domain", lambda w: w.ask(tenant="contoso.onmicrosoft.com"), 90002, "invalid_request", 400),
    ("tenant common", lambda w: w.ask(tenant="common"), 90002, "invalid_request", 400),
    ("tenant no guid", lambda w: w.ask(tenant="contoso"), 900023, "invalid_request", 400),
    ("tenant a guid cut short", lambda w: w.ask(tenant=w.tenant[:-1]), 900023, "invalid_request", 400),
    ("tenant undefined", lambda w: w.ask(tenant="undefined"), 900023, "invalid_request", 400),
    ("no federated credential", lambda w: _without_credentials(w).ask(), 70025, "invalid_client", 401),
    (
        "no federated credential, though nothing else is right either",
        lambda w: _without_credentials(w).present(iss="https://other.test/", sub="x", aud="y", exp=int(NOW) - 1),
        70025,
        "invalid_client",
        401,
    ),
    ("client unknown", lambda w: w.ask(client_id=GUID), 700016, "unauthorized_client", 400),
    ("client no guid", lambda w: w.ask(client_id="me"), 700016, "unauthorized_client", 400),
    ("issuer other", lambda w: w.present(iss="https://other.test/"), 700211, "invalid_client", 401),
    ("issuer without its slash", lambda w: w.present(iss=w.issuer_url[:-1]), 700211, "invalid_client", 401),
    ("issuer in capitals", lambda w: w.present(iss=w.issuer_url.upper()), 700211, "invalid_client", 401),
    ("audience other", lambda w: w.present(aud=["sts.amazonaws.com"]), 700212, "invalid_client", 401),
    ("audience in lower case", lambda w: w.present(aud="api://azureadtokenexchange"), 700212, "invalid_client", 401),
    ("subject other", lambda w: w.present(sub="system:serviceaccount:a:b"), 700213, "invalid_client", 401),
    (
        "subject in another case",
        lambda w: w.present(sub="system:serviceaccount:kube-system:WI-demo-sa"),
        7002138,
        "invalid_client",
        401,
    ),
    ("expired", lambda w: w.present(exp=int(NOW) - 1), 700024, "invalid_client", 401),
    ("expires now", lambda w: w.present(exp=int(NOW)), 700024, "invalid_client", 401),
    ("not yet valid", lambda w: w.present(nbf=int(NOW) + 60), 700024, "invalid_client", 401),
    ("valid for too long", lambda w: w.present(exp=int(NOW) + 25 * 3600 + 1), 70023, "invalid_client", 401),
    ("valid for a year", lambda w: w.present(exp=int(NOW) + 365 * 24 * 3600), 70023, "invalid_client", 401),
    (
        "valid for a year that is over",
        lambda w: w.present(iat=0, nbf=0, exp=int(NOW) - 1),
        700024,
        "invalid_client",
        401,
    ),
    ("issued by entra", lambda w: _by_entra(w, w.tenant), 700222, "invalid_client", 401),
    (
        "issued by entra, v1.0",
        lambda w: _by_entra(w, w.tenant, "https://sts.windows.net/{}/"),
        700222,
        "invalid_client",
        401,
    ),
    ("issued by another tenant", lambda w: _by_entra(w, GUID), 700236, "invalid_client", 401),
    ("signed by a certificate", _by_certificate, 700027, "invalid_client", 401),
    ("absurd times", lambda w: w.present(exp=-1e300, nbf=10**40), 700024, "invalid_client", 401),
    ("no jwt", lambda w: w.ask(client_assertion="not-a-token"), 50027, "invalid_client", 401),
    ("unsigned", lambda w: w.ask(client_assertion=_unsigned(w)), 50027, "invalid_client", 401),
    ("forged", lambda w: w.ask(client_assertion=_forged(w)), 50027, "invalid_client", 401),
    ("tampered", lambda w: w.ask(client_assertion=_tampered(w)), 50027, "invalid_client", 401),
    ("without exp", lambda w: w.present(exp=None), 50027, "invalid_client", 401),
    ("without sub", lambda w: w.present(sub=None), 50027, "invalid_client", 401),
    ("two audiences", lambda w: w.present(aud=["api://AzureADTokenExchange", "b"]), 50027, "invalid_client", 401),
    ("exp a text", lambda w: w.present(exp="tomorrow"), 50027, "invalid_client", 401),
    ("without kid", lambda w: w.ask(client_assertion=_without_kid(w)), 50027, "invalid_client", 401),
    ("kid unknown", lambda w: w.ask(client_assertion=_of_unknown_key(w)), 7000272, "invalid_client", 401),
    (
        "HS256 with the public key",
        lambda w: w.ask(client_assertion=_with_public_key_as_secret(w)),
        5002730,
        "invalid_request",
        400,
    ),
    (
        "ES256",
        lambda w: w.ask(client_assertion=_signed(w, "ES256", ECKey.generate_key("P-256"))),
        5002730,
        "invalid_request",
        400,
    ),
    ("crit empty", lambda w: w.ask(client_assertion=_with_header(w, crit=[])), 50027, "invalid_client", 401),
    (
        "crit b64",
        lambda w: w.ask(client_assertion=_with_header(w, crit=["b64"], b64=True)),
        50027,
        "invalid_client",
        401,
    ),
    ("b64 false", lambda w: w.ask(client_assertion=_with_header(w, b64=False)), 50027, "invalid_client", 401),
    ("typ other", lambda w: w.ask(client_assertion=_of_type(w)), 5002727, "invalid_request", 400),
    ("issuer unreachable", lambda w: _elsewhere(w, {}), 50166, "invalid_request", 400),
    ("resource a vault", lambda w: w.ask(scope="https://my.vault.azure.net/.default"), 500011, "invalid_resource", 400),
    ("resource unknown", lambda w: w.ask(scope="api://nobody/.default"), 500011, "invalid_resource", 400),
    ("scope without .default", lambda w: w.ask(scope=ARM), 1002012, "invalid_scope", 400),
    ("scope of a permission", lambda w: w.ask(scope=f"{ARM}user_impersonation"), 1002012, "invalid_scope", 400),
    ("scope of a word", lambda w: w.ask(scope="User.Read"), 1002012, "invalid_scope", 400),
    ("scope openid", lambda w: w.ask(scope="openid profile"), 1002012, "invalid_scope", 400),
    (
        "scope encoded twice",
        lambda w: w.ask(scope="https%3A%2F%2Fvault.azure.net%2F.default"),
        1002012,
        "invalid_scope",
        400,
    ),
    ("scope no uri", lambda w: w.ask(scope="arm/.default"), 70011, "invalid_scope", 400),
    (
        "scope of two",
        lambda w: w.ask(scope=f"{ARM}/.default https://vault.azure.net/.default"),
        70011,
        "invalid_scope",
        400,
    ),
    ("no grant type", lambda w: w.ask(grant_type=None), 900144, "invalid_request", 400),
    ("no client id", lambda w: w.ask(client_id=None), 900144, "invalid_request", 400),
    ("no scope", lambda w: w.ask(scope=""), 900144, "invalid_request", 400),
    ("no assertion type", lambda w: w.ask(client_assertion_type=None), 900144, "invalid_request", 400),
    ("no assertion", lambda w: w.ask(client_assertion=None), 900144, "invalid_request", 400),
    (
        "no proof",
        lambda w: w.ask(client_assertion=None, client_assertion_type=None),
        7000218,
        "invalid_client",
        401,
    ),
    ("a secret", lambda w: w.ask(client_assertion=None, client_secret="s3cret"), 7000215, "invalid_client", 401),
    ("another grant", lambda w: w.ask(grant_type="password"), 70003, "unsupported_grant_type", 400),
    ("saml", lambda w: w.ask(client_assertion_type="urn:saml"), 9002313, "invalid_request", 400),
    ("claims no json", lambda w: w.ask(claims="{"), 9002313, "invalid_request", 400),
]


@pytest.mark.parametrize(
    "send, code, error, status", [case[1:] for case in CASES], ids=[f"{case[2]} {case[0]}" for case in CASES]
)
def test_refusal_has_the_code_error_status_and_fields_of_entra(
    azure: SmallAzure, send: Callable[[SmallAzure], Answer], code: int, error: str, status: int
) -> None:
    answer = send(azure)
    document = answer.json()
    assert (answer.code, document["error"], answer.status) == (code, error, status)
    ending = (
        f" Trace ID: {document['trace_id']} Correlation ID: {document['correlation_id']} "
        f"Timestamp: {document['timestamp']}"
    )
    assert document["error_description"].startswith(f"AADSTS{code}: ")
    assert document["error_description"].endswith(ending)
    assert document["error_uri"].endswith(f"/error?code={code}")
    assert document["timestamp"] == "2025-10-09 08:53:20Z"
    assert azure.log[-1]["code"] == code


def test_refusal_quotes_neither_assertion_nor_secret(azure: SmallAzure) -> None:
    """Neither in the answer nor in the log."""
    for form in ({"client_assertion": _forged(azure)}, {"client_assertion": None, "client_secret": "s3cret"}):
        answer = azure.ask(**form)
        for part in re.split(r"\.", form["client_assertion"] or "s3cret"):
            assert part not in answer.body.decode()
            assert part not in str(azure.log)


NO_SUBJECT = (
    "AADSTS700213: No matching federated identity record found for presented assertion subject "
    "'system:serviceaccount:a:b'. Check your federated identity credential Subject, Audience and Issuer against "
    "the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation Trace ID"
)
NO_TIME = (
    "AADSTS700024: Client assertion is not within its valid time range. Current time: 2025-10-09T08:53:20.0000000Z, "
    "assertion valid from 1970-01-01T00:00:00.0000000Z, expiry time of assertion 2025-10-09T08:23:20.0000000Z. Review "
    "the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials . Trace ID"
)
NO_CREDENTIAL = (
    "AADSTS70025: The client '{}'(wi-demo-identity) has no configured federated identity credentials. Trace ID"
)
NO_TENANT = (
    "AADSTS900023: Specified tenant identifier 'contoso' is neither a valid DNS name, nor a valid external domain. "
    "Trace ID"
)
NO_DEFAULT = (
    "AADSTS1002012: The provided value for scope User.Read is not valid. Client credential flows must have a scope "
    "value with /.default suffixed to the resource identifier (application ID URI). Trace ID"
)
TWO_RESOURCES = (
    "AADSTS70011: The provided request must include a 'scope' input parameter. The provided value for the input "
    "parameter 'scope' is not valid. The scope https://graph.microsoft.com/.default "
    "https://xxx.sharepoint.com/.default is not valid. Trace ID"
)
OWN_ENTRA = "AADSTS700222: AAD-issued tokens may not be used for federated identity flows. Trace ID"
OTHER_ENTRA = (
    f"AADSTS700236: Entra ID tokens issued by issuer 'https://login.microsoftonline.com/{GUID}/v2.0' may not be used "
    "for federated identity credential flows for applications or managed identities registered in this tenant. Trace ID"
)
NO_CERTIFICATE = (
    "AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application. "
    "[Reason - The key was not found., Thumbprint of key used by client: '831F2D1B2B328DC46A2A314F9DDED1170BF0648D', "
    "Please visit the Azure Portal"
)
NO_VAULT = (
    "AADSTS500011: The resource principal named https://my.vault.azure.net/ was not found in the tenant named wisp "
    "local. This can happen if the application has not been installed by the administrator of the tenant or consented "
    "to by any user in the tenant. You might have sent your authentication request to the wrong tenant. Trace ID"
)
TOO_LONG = "must have a lifetime of less than or equal to 1.01:00:00. Trace ID"
NO_KEY = (
    "AADSTS7000272: The certificate with identifier nobody-knows used to sign the federated credential could not be "
    "found in the metadata of identity provider https://cloud.test:8443/oidc/"
)


def test_new_federated_credential_is_unknown_until_it_has_propagated(azure: SmallAzure) -> None:
    """With `propagation`, 70021 until then, for the one that is new alone; what does not match is refused as ever.

    Where all are new the identity has none as yet: 70025.
    """
    app = create_app(azure.store, BASE_URL, Options(propagation=30))
    with Client(app, BASE_URL.removeprefix("https://")) as azure.client:
        assert [azure.ask().code, azure.present(sub="other").code] == [70025, 70025]
        azure.clock.now += 30
        assert azure.ask().status == 200
        azure.store.put_federated_credential(azure.identity, "new", issuer=azure.issuer_url, subject="new")
        new = {"client_assertion": azure.assertion(sub="new")}
        answer = azure.ask(**new)
        assert (answer.code, answer.status, answer.json()["error"]) == (70021, 400, "invalid_request")
        assert azure.present(sub="other").code == 700213
        azure.clock.now += 30
        assert azure.ask(**new).status == 200


WORDS: dict[str, tuple[Callable[[SmallAzure], Answer], str]] = {
    "subject": (lambda w: w.present(sub="system:serviceaccount:a:b"), NO_SUBJECT),
    "time": (lambda w: w.present(exp=int(NOW) - 1800, nbf=None), NO_TIME),
    "key": (lambda w: w.ask(client_assertion=_of_unknown_key(w)), NO_KEY),
    "tenant": (lambda w: w.ask(tenant="contoso"), NO_TENANT),
    "scope": (lambda w: w.ask(scope="User.Read"), NO_DEFAULT),
    "two resources": (
        lambda w: w.ask(scope="https://graph.microsoft.com/.default https://xxx.sharepoint.com/.default"),
        TWO_RESOURCES,
    ),
    "entra": (lambda w: _by_entra(w, w.tenant), OWN_ENTRA),
    "another entra": (lambda w: _by_entra(w, GUID), OTHER_ENTRA),
    "certificate": (_by_certificate, NO_CERTIFICATE),
    "vault": (lambda w: w.ask(scope="https://my.vault.azure.net//.default"), NO_VAULT),
}


@pytest.mark.parametrize("send, words", WORDS.values(), ids=WORDS)
def test_refusal_has_the_text_of_entra(azure: SmallAzure, send: Callable[[SmallAzure], Answer], words: str) -> None:
    """People search for these texts."""
    assert send(azure).json()["error_description"].startswith(words)


def test_client_without_federated_credentials_is_named(azure: SmallAzure) -> None:
    said = _without_credentials(azure).ask().json()["error_description"]
    assert said.startswith(NO_CREDENTIAL.format(azure.identity.client_id))


def test_assertion_of_a_day_and_an_hour_is_accepted(azure: SmallAzure) -> None:
    """Without `iat` the lifetime is not known."""
    assert TOO_LONG in azure.present(exp=int(NOW) + 25 * 3600 + 1).json()["error_description"]
    assert azure.present(exp=int(NOW) + 25 * 3600).status == 200
    assert azure.present(iat=None, nbf=None).status == 200


@pytest.mark.parametrize("host", ["login.microsoftonline.com.evil.test", "notlogin.microsoftonline.community"])
def test_issuer_with_a_host_like_entras_is_asked_for_its_keys(azure: SmallAzure, host: str) -> None:
    """Nothing answers here."""
    issuer = f"https://{host}/{GUID}/v2.0"
    azure.store.put_federated_credential(azure.identity, "other", issuer=issuer, subject="me")
    assert azure.present(iss=issuer, sub="me").code == 50166


def test_metadata_of_an_unknown_tenant_is_refused(azure: SmallAzure) -> None:
    """With `invalid_tenant` if the name is possible."""
    wrong = {
        "contoso": (900023, "invalid_request"),
        "contoso.com": (90002, "invalid_tenant"),
        GUID: (90002, "invalid_tenant"),
    }
    for tenant, expected in wrong.items():
        for path in ("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"):
            answer = azure.client.get(f"/{tenant}/{path}")
            assert (answer.code, answer.json()["error"]) == expected


def test_matching_credential_is_found_among_others(azure: SmallAzure) -> None:
    for name, subject in (
        ("aaa", "system:serviceaccount:a:a"),
        ("zzz", "system:serviceaccount:kube-system:WI-DEMO-SA"),
    ):
        azure.store.put_federated_credential(azure.identity, name, issuer=azure.issuer_url, subject=subject)
    assert azure.ask().status == 200


def test_rotated_key_is_accepted_until_it_is_retired(azure: SmallAzure) -> None:
    old = azure.assertion()
    azure.issuer = azure.store.issuers.rotate("wilab")
    assert [azure.ask(client_assertion=token).status for token in (old, azure.assertion())] == [200, 200]
    azure.store.issuers.retire_keys("wilab")
    assert azure.ask(client_assertion=old).code == 7000272
    assert azure.ask().status == 200
