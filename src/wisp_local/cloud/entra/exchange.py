"""One token request, from the form to the answer: reads what the decisions need, and signs what they grant."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from wisp.base.secret import Secret
from wisp_local.cloud.entra import claims
from wisp_local.cloud.entra.audiences import is_known
from wisp_local.cloud.entra.directory import (
    Application,
    Client,
    FederatedCredential,
    SecretCheck,
    Signature,
    Tenant,
    match_credential,
    refuse_entra_issuer,
    refuse_signature,
)
from wisp_local.cloud.entra.refusals import Refused, certificate_not_registered, refuse
from wisp_local.cloud.entra.request import (
    Assertion,
    ClientSecret,
    FederatedAssertion,
    TokenRequest,
    certificate_thumbprint,
    read_assertion,
    read_token_request,
)
from wisp_local.cloud.issuer import verifies
from wisp_local.cloud.issuer_keys import FoundKey, KeySource, find_key
from wisp_local.cloud.names import is_domain, is_guid
from wisp_local.cloud.web import Site

EVERY_TENANT = ("common", "organizations", "consumers")  # in a URL, they stand for the tenant of the user


@dataclass(frozen=True)
class Token:
    """An access token and its `lifetime` in seconds."""

    access_token: Secret
    lifetime: int


@dataclass(frozen=True)
class ObservedExchange:
    """A token request and its answer, for an observer; `trace_id` is the one in the answer if that is a refusal.

    `correlation_id` is the id that the client gave the request, empty if it gave none. The form holds credentials, so
    an observer stores them in `Secret`.
    """

    trace_id: str
    correlation_id: str
    tenant: str
    form: Sequence[tuple[str, str]] = field(repr=False)
    outcome: Token | Refused


@dataclass(frozen=True)
class Exchange:
    """Entra's token endpoint on `site`; tokens live `lifetime` seconds, an application's an hour at most.

    `elsewhere` finds the keys of issuers that are not the site's own. An identity's new federated credential is known
    after `propagation` seconds, as on Azure.
    """

    site: Site
    elsewhere: KeySource
    lifetime: int
    propagation: float

    def answer(self, tenant_name: str, form: Iterable[tuple[str, str]]) -> Token | Refused:
        """Answer `POST /{tenant_name}/oauth2/v2.0/token` with the given form; may wait for an issuer elsewhere."""
        tenant = self.site.store.tenant()
        if tenant_name.lower() != tenant.id:
            return unknown_tenant(tenant_name)
        request = read_token_request(form)
        if isinstance(request, Refused):
            return request
        client = self.site.store.client(request.client_id)
        if client is None:
            return refuse("application_not_found", client_id=request.client_id, directory=tenant.display_name)
        match request.proof:
            case FederatedAssertion(token):
                refused = self._refuse_assertion(token, client)
            case ClientSecret(value):
                refused = self._refuse_secret(value, client)
            case _:
                assert_never(request.proof)
        return self._token(tenant, client, request) if refused is None else refused

    def _refuse_assertion(self, token: Secret, client: Client) -> Refused | None:
        """Read, match and only then fetch keys: no client can make us call an issuer that none of them trusts."""
        thumbprint = certificate_thumbprint(token.reveal(), client.client_id)
        if thumbprint is not None:
            return certificate_not_registered(client.client_id, thumbprint)
        assertion = read_assertion(token.reveal())
        if isinstance(assertion, Refused):
            return assertion
        matched = self._match(assertion, client)
        if isinstance(matched, Refused):
            return matched
        refused = refuse_entra_issuer(assertion.issuer, client.tenant_id)
        return refused or refuse_signature(assertion, self._check_signature(token, assertion))

    def _match(self, assertion: Assertion, client: Client) -> FederatedCredential | Refused:
        """Find the federated credential that the assertion matches; a new one is not known yet."""
        store = self.site.store
        credentials, new = store.federated_credentials(client), set[str]()
        if self.propagation and not isinstance(client, Application):
            new = store.federated_since(client, store.clock() - self.propagation)
        if all(credential.name in new for credential in credentials):
            name = client.display_name if isinstance(client, Application) else client.name
            return refuse("no_federated_credentials", client_id=client.client_id, name=name)
        matched = match_credential(assertion, credentials, store.clock())
        if isinstance(matched, FederatedCredential) and matched.name in new:
            values = {"issuer": assertion.issuer, "subject": assertion.subject, "audience": assertion.audience}
            return refuse("no_match_yet", **values)
        return matched

    def _refuse_secret(self, secret: Secret, client: Client) -> Refused | None:
        check = self.site.store.principals.check_secret(client.client_id, secret)
        match check:
            case SecretCheck.RIGHT:
                return None
            case SecretCheck.EXPIRED:
                return refuse("secret_expired", client_id=client.client_id)
            case SecretCheck.WRONG:
                return refuse("secret_invalid", client_id=client.client_id)
            case _:
                assert_never(check)

    def _check_signature(self, token: Secret, assertion: Assertion) -> Signature:
        found = find_issuer_key(self.site, self.elsewhere, assertion.issuer, assertion.key_id)
        if isinstance(found, Signature):
            return found
        return Signature.VERIFIED if verifies(token, found) else Signature.WRONG

    def _token(self, tenant: Tenant, client: Client, request: TokenRequest) -> Token | Refused:
        store = self.site.store
        if not is_known(request.audience, [*store.resources(), *self.site.base_urls], self.site.azure_cloud):
            return refuse("resource_not_found", resource=request.audience, directory=tenant.display_name)
        issue = claims.Issue(
            audience=request.audience,
            issued_at=int(store.clock()),
            lifetime=min(self.lifetime, claims.APPLICATION_LIFETIME)
            if isinstance(client, Application)
            else self.lifetime,
            unique=os.urandom(32),
            capabilities=request.capabilities,
            authenticated_by=claims.SHARED_KEY if isinstance(request.proof, ClientSecret) else claims.CERTIFICATE,
        )
        key = store.issuers.token_keys()[-1]
        header = {"typ": "JWT", "x5t": key.extra["x5t"]}
        return Token(key.sign(header, claims.access_token_claims(tenant, client, issue)), issue.lifetime)


def find_issuer_key(site: Site, elsewhere: KeySource, issuer_url: str, key_id: str) -> FoundKey:
    """Find the key that an issuer publishes: the site's own, or attached to it, in its store; others `elsewhere`."""
    issuers = site.store.issuers
    base, slash, rest = issuer_url.partition("/oidc/")
    if base not in site.base_urls or not slash:
        attached = issuers.attached_keys(url=issuer_url)
        return elsewhere.find(issuer_url, key_id) if attached is None else find_key(json.loads(attached), key_id)
    issuer = issuers.get(rest.removesuffix("/"))
    if issuer is None or not rest.endswith("/"):
        return Signature.ISSUER_UNREACHABLE
    attached = issuers.attached_keys(path=issuer.path, name=issuer.name)
    if attached is not None:
        return find_key(json.loads(attached), key_id)
    return next((key.public for key in issuer.keys if key.key_id == key_id), Signature.KEY_NOT_PUBLISHED)


def unknown_tenant(name: str) -> Refused:
    """Return the refusal for a tenant that does not exist, or for a name that no tenant can have."""
    is_possible = is_guid(name) or is_domain(name) or name in EVERY_TENANT
    return refuse("tenant_not_found" if is_possible else "tenant_malformed", tenant=name)
