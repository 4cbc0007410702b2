"""One token request, from the form to the answer: reads what the decisions need, asks them, signs what they grant."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from wisp.base.secret import Secret
from wisp_local.cloud.entra import refusals
from wisp_local.cloud.entra.audiences import PUBLIC, AzureCloud, is_known
from wisp_local.cloud.entra.claims import (
    APPLICATION_LIFETIME,
    CERTIFICATE,
    DEFAULT_LIFETIME,
    SHARED_KEY,
    Issue,
    access_token_claims,
)
from wisp_local.cloud.entra.directory import (
    Application,
    Client,
    FederatedCredential,
    Granted,
    SecretCheck,
    Signature,
    Tenant,
    conclude,
    match_credential,
    refuse_entra_issuer,
)
from wisp_local.cloud.entra.refusals import Refused
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
from wisp_local.cloud.issuer_keys import KeySource
from wisp_local.cloud.names import is_domain, is_guid
from wisp_local.cloud.state.store import Store

EVERY_TENANT = ("common", "organizations", "consumers")  # what stands in a URL for whichever tenant the user has


@dataclass(frozen=True)
class Token:
    """An access token and its `lifetime` in seconds."""

    access_token: Secret
    lifetime: int


@dataclass(frozen=True)
class ObservedExchange:
    """A token request and its answer, for whoever watches; `trace_id` is what the client was told, or could have been.

    The form holds credentials: what is kept of it travels in `Secret`.
    """

    trace_id: str
    tenant: str
    form: Sequence[tuple[str, str]] = field(repr=False)
    outcome: Token | Refused


@dataclass(frozen=True)
class Exchange:
    """Entra's token endpoint over `store`; tokens live `lifetime` seconds, an application's an hour at most.

    Tokens can be requested for the services of `azure_cloud`, the registered resources and `own_resources`: this cloud
    itself. An identity's new federated credential is known after `propagation` seconds, as on Azure.
    """

    store: Store
    keys: KeySource
    lifetime: int = DEFAULT_LIFETIME
    own_resources: frozenset[str] = frozenset()
    propagation: float = 0
    azure_cloud: AzureCloud = PUBLIC

    def answer(self, tenant_name: str, form: Iterable[tuple[str, str]]) -> Token | Refused:
        """Answer `POST /{tenant_name}/oauth2/v2.0/token` with the given form; may wait for an issuer elsewhere."""
        tenant = self.store.tenant()
        if tenant_name.lower() != tenant.id:
            return unknown_tenant(tenant_name)
        request = read_token_request(form)
        if isinstance(request, Refused):
            return request
        client = self.store.client(request.client_id)
        if client is None:
            return refusals.application_not_found(request.client_id, tenant.display_name)
        refused = self._refusal(request, client)
        return self._token(tenant, client, request) if refused is None else refused

    def _refusal(self, request: TokenRequest, client: Client) -> Refused | None:
        """Say why the client has not shown who it is, or None."""
        match request.proof:
            case FederatedAssertion(token):
                decision = self._decide(token, client)
                return decision if isinstance(decision, Refused) else None
            case ClientSecret(value):
                return self._decide_secret(value, client)
            case _:
                assert_never(request.proof)

    def _decide(self, token: Secret, client: Client) -> Granted | Refused:
        """Read, match and only then fetch keys: nobody can make us call an issuer that no client trusts."""
        thumbprint = certificate_thumbprint(token.reveal(), client.client_id)
        if thumbprint is not None:
            return refusals.certificate_not_registered(client.client_id, thumbprint)
        assertion = read_assertion(token.reveal())
        if isinstance(assertion, Refused):
            return assertion
        credential = self._credential(assertion, client)
        if isinstance(credential, Refused):
            return credential
        refused = refuse_entra_issuer(assertion.issuer, client.tenant_id)
        return refused or conclude(assertion, credential, self._signature(token, assertion))

    def _credential(self, assertion: Assertion, client: Client) -> FederatedCredential | Refused:
        """Find the federated credential that the assertion matches; a new one is not known yet."""
        credentials, new = self.store.federated_credentials(client), self._new(client)
        if all(each.name in new for each in credentials):
            name = client.display_name if isinstance(client, Application) else client.name
            return refusals.no_federated_credentials(client.client_id, name)
        found = match_credential(assertion, credentials, self.store.clock())
        if isinstance(found, FederatedCredential) and found.name in new:
            return refusals.no_match_yet(assertion.issuer, assertion.subject, assertion.audience)
        return found

    def _new(self, client: Client) -> set[str]:
        """Return the names of the client's federated credentials that have not propagated."""
        if not self.propagation or isinstance(client, Application):
            return set()
        return self.store.federated_since(client, self.store.clock() - self.propagation)

    def _decide_secret(self, secret: Secret, client: Client) -> Refused | None:
        check = self.store.principals.check_secret(client.client_id, secret)
        match check:
            case SecretCheck.RIGHT:
                return None
            case SecretCheck.EXPIRED:
                return refusals.secret_expired(client.client_id)
            case SecretCheck.WRONG:
                return refusals.secret_invalid(client.client_id)
            case _:
                assert_never(check)

    def _signature(self, token: Secret, assertion: Assertion) -> Signature:
        found = self.keys.find(assertion.issuer, assertion.key_id)
        if isinstance(found, Signature):
            return found
        return Signature.VERIFIED if verifies(token, found) else Signature.WRONG

    def _token(self, tenant: Tenant, client: Client, request: TokenRequest) -> Token | Refused:
        if not is_known(request.audience, [*self.store.resources(), *self.own_resources], self.azure_cloud):
            return refusals.resource_not_found(request.audience, tenant.display_name)
        issue = Issue(
            audience=request.audience,
            issued_at=int(self.store.clock()),
            lifetime=min(self.lifetime, APPLICATION_LIFETIME) if isinstance(client, Application) else self.lifetime,
            unique=os.urandom(32),
            capabilities=request.capabilities,
            authenticated_by=SHARED_KEY if isinstance(request.proof, ClientSecret) else CERTIFICATE,
        )
        key = self.store.issuers.token_keys()[-1]
        header = {"typ": "JWT", "x5t": key.extra["x5t"]}
        return Token(key.sign(header, access_token_claims(tenant, client, issue)), issue.lifetime)


def unknown_tenant(name: str) -> Refused:
    """Say that there is no tenant `name`, or that nothing can be called so."""
    known_form = is_guid(name) or is_domain(name) or name in EVERY_TENANT
    return refusals.tenant_not_found(name) if known_form else refusals.tenant_malformed(name)
