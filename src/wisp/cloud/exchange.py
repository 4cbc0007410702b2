"""One token request, from the form to the answer: reads what the decisions need, asks them, signs what they grant."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from wisp.cloud import refusals
from wisp.cloud.assertion import Assertion, read_assertion
from wisp.cloud.audiences import is_known
from wisp.cloud.claims import DEFAULT_LIFETIME, Issue, access_token_claims
from wisp.cloud.directory import Decision, Granted, ManagedIdentity, Signature, Tenant, conclude, match_credential
from wisp.cloud.form import TokenRequest, read_token_request
from wisp.cloud.keysource import KeySource
from wisp.cloud.refusals import Refused
from wisp.cloud.signing import verifies
from wisp.cloud.store import Store
from wisp.secret import Secret


@dataclass(frozen=True)
class Token:
    """An access token and its `lifetime` in seconds."""

    access_token: Secret
    lifetime: int


@dataclass(frozen=True)
class Heard:
    """A token request and its answer, for whoever watches; `trace_id` is what the client was told, or could have been.

    The form holds credentials: what is kept of it travels in `Secret`.
    """

    trace_id: str
    tenant: str
    form: Sequence[tuple[str, str]] = field(repr=False)
    outcome: Token | Refused


@dataclass(frozen=True)
class Exchange:
    """Entra's token endpoint over `store`; tokens live `lifetime` seconds."""

    store: Store
    keys: KeySource
    lifetime: int = DEFAULT_LIFETIME

    def answer(self, tenant_name: str, form: Iterable[tuple[str, str]]) -> Token | Refused:
        """Answer `POST /{tenant_name}/oauth2/v2.0/token` with the given form; may wait for an issuer elsewhere."""
        tenant = self.store.tenant()
        if tenant_name.lower() != tenant.id:
            return refusals.tenant_not_found(tenant_name)
        request = read_token_request(form)
        if isinstance(request, Refused):
            return request
        identity = self.store.identity_of_client(request.client_id)
        if identity is None:
            return refusals.application_not_found(request.client_id, tenant.display_name)
        decision = self._decide(request, identity)
        match decision:
            case Refused():
                return decision
            case Granted():
                return self._token(tenant, identity, request)
            case _:
                assert_never(decision)

    def _decide(self, request: TokenRequest, identity: ManagedIdentity) -> Decision:
        """Read, match and only then fetch keys: nobody can make us call an issuer that no identity trusts."""
        assertion = read_assertion(request.assertion.reveal())
        if isinstance(assertion, Refused):
            return assertion
        credential = match_credential(assertion, self.store.federated_credentials(identity), self.store.clock())
        if isinstance(credential, Refused):
            return credential
        return conclude(assertion, credential, self._signature(request, assertion))

    def _signature(self, request: TokenRequest, assertion: Assertion) -> Signature:
        found = self.keys.find(assertion.issuer, assertion.key_id)
        if isinstance(found, Signature):
            return found
        return Signature.VERIFIED if verifies(request.assertion, found) else Signature.WRONG

    def _token(self, tenant: Tenant, identity: ManagedIdentity, request: TokenRequest) -> Token | Refused:
        if not is_known(request.audience, self.store.resources()):
            return refusals.resource_not_found(request.audience, tenant.display_name)
        now = int(self.store.clock())
        issue = Issue(request.audience, now, self.lifetime, os.urandom(32), request.capabilities)
        key = self.store.token_keys()[-1]
        header = {"typ": "JWT", "x5t": key.extra["x5t"]}
        return Token(key.sign(header, access_token_claims(tenant, identity, issue)), self.lifetime)
