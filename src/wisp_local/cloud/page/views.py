"""The contents of the page's templates, read from the state of the cloud and from the record."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache

import jinja2
from markupsafe import Markup, escape

from wisp_local.cloud.cluster import ManagedCluster
from wisp_local.cloud.entra.directory import Application, FederatedCredential, Signature
from wisp_local.cloud.entra.exchange import Token, find_issuer_key
from wisp_local.cloud.entra.refusals import CERTIFICATE_NOT_REGISTERED, Refused
from wisp_local.cloud.entra.request import audience_of
from wisp_local.cloud.issuer import KEYS_PATH, verifies
from wisp_local.cloud.issuer_keys import UnreachableIssuers
from wisp_local.cloud.page.audit import GatewayExchange, gateway_namespace
from wisp_local.cloud.page.explanation import Piece, is_match
from wisp_local.cloud.page.record import Entry, Record
from wisp_local.cloud.page.refusal import fix, time_problem, valid_time
from wisp_local.cloud.page.tokens import Decoded, claims, moment, since, visible
from wisp_local.cloud.web import Site

_RECENT = 25  # exchanges on the front page
_IDENTITIES = 50  # a page; there may be ten thousand
Context = Mapping[str, object]  # of a template


class CheckedSignature(Enum):
    """The result of checking a signature, in words."""

    VERIFIED = "verified"
    WRONG = "does not verify: it was signed with another key, or changed since"
    UNPUBLISHED = "its key is not among those that the issuer publishes"
    ELSEWHERE = "not checked here: the issuer is not one of this cloud's"


@dataclass(frozen=True)
class Row:
    """An exchange in the list; `who` is the identity's name when it is `named`, else a client id.

    `code` is 0 for a granted exchange.
    """

    entry: Entry
    granted: bool
    who: str
    subject: str
    resource: str
    named: bool
    code: int


def row(entry: Entry) -> Row:
    """Return the list's row about an exchange."""
    assertion, name = entry.analysis.assertion, _identity_name(entry)
    return Row(
        entry,
        granted=isinstance(entry.outcome, Token),
        who=name or entry.client_id,
        subject=assertion.presented.subject if assertion else "",
        resource=audience_of(entry.scope) or entry.scope,
        named=bool(name),
        code=0 if isinstance(entry.outcome, Token) else entry.outcome.code,
    )


def _identity_name(entry: Entry) -> str:
    """Return the name of the client, as far as it is known; of a managed identity it is also in the token."""
    if entry.client is not None:
        return entry.client.display_name if isinstance(entry.client, Application) else entry.client.name
    token = entry.analysis.token
    resource_id = token.payload.get("xms_mirid") if token else None
    return resource_id.rpartition("/")[2] if isinstance(resource_id, str) else ""


@dataclass(frozen=True)
class Views:
    """The contexts of the templates, from `site` and `record`."""

    site: Site
    record: Record

    def cloud(self) -> Context:
        """Return the context of every whole page."""
        store = self.site.store
        return {
            "tenant": store.tenant(),
            "base_url": self.site.base_url,
            "now": store.clock(),
            "recorded": self.record.limit,
        }

    def overview(self, name_filter: str, number: int) -> Context:
        """Return the context of the front page, with page `number` (from 1) of the identities."""
        entries, store = self.record.newest(), self.site.store
        return {
            **self.cloud(),
            **self._identities(name_filter, number),
            "rows": [row(entry) for entry in entries[:_RECENT]],
            "total": len(entries),
            "limit": _RECENT,
            "clusters": [
                (cluster, self._issuer_url(cluster), store.bindings.of(cluster)) for cluster in store.clusters.all()
            ],
            "issuers": [(issuer, self.site.base_url + issuer.path, KEYS_PATH) for issuer in store.issuers.all()],
        }

    def exchanges(self) -> Context:
        """Return the context of the list of all exchanges."""
        rows = [row(entry) for entry in self.record.newest()]
        return {**self.cloud(), "rows": rows, "total": len(rows), "limit": self.record.limit}

    def news(self, after: str) -> Context | None:
        """Return the context of the rows after the one with that trace id; None when it is not in the record."""
        entries = self.record.after(after)
        return None if entries is None else {"rows": [row(entry) for entry in entries]}

    def exchange(self, entry: Entry) -> Context:
        """Return the context of one exchange, without the token itself."""
        context: dict[str, object] = {
            **self.cloud(),
            "row": row(entry),
            "entry": entry,
            "analysis": entry.analysis,
            "assertion": None,
            "gateway": self.gateway_exchange(entry),
            "may_look": bool(self.kubeconfig(entry)),
        }
        decoded = entry.analysis.assertion
        if decoded is not None:
            context |= {
                "assertion": (claims(decoded.header, entry.at), claims(decoded.payload, entry.at)),
                "assertion_signature": self._assertion_signature(entry, decoded),
                "time_problem": time_problem(decoded, entry.at),
                "valid_time": valid_time(decoded),
            }
        if isinstance(entry.outcome, Token):
            return {**context, **self._granted(entry, entry.outcome)}
        return {**context, **self._refused(entry, entry.outcome)}

    def gateway_exchange(self, entry: Entry) -> GatewayExchange | None:
        """Return which exchange of a token gateway this was, if the subject is a gateway's."""
        assertion = entry.analysis.assertion
        namespace = "" if assertion is None else gateway_namespace(assertion.presented.subject)
        return GatewayExchange(namespace, entry.correlation_id, entry.client_id, entry.at) if namespace else None

    def kubeconfig(self, entry: Entry) -> str:
        """Return the kubeconfig of the attached cluster in which a gateway made this exchange; empty if there is none.

        Its credentials are used only for an assertion that the cluster has signed: anybody could claim to be a gateway.
        """
        assertion = entry.analysis.assertion
        if assertion is None or not entry.correlation_id or not gateway_namespace(assertion.presented.subject):
            return ""
        issuer, site = assertion.presented.issuer, self.site
        attached = site.store.clusters.attachment_of_issuer(issuer, site.base_urls)
        if attached is None:
            return ""
        is_real = isinstance(entry.outcome, Token)
        is_real = is_real or self._assertion_signature(entry, assertion) is CheckedSignature.VERIFIED
        return attached.kubeconfig if is_real else ""

    def may_show_token(self, entry: Entry) -> bool:
        """Tell whether the token may be shown to anybody on this machine.

        Tokens of principals with a role may not: they can get the kubeconfig of a real API server, which only some of
        this machine's users may have.
        """
        token = entry.analysis.token
        assigned = {assignment.principal_id.lower() for assignment in self.site.store.assignments.all()}
        return token is not None and token.payload.get("oid") not in assigned

    def _granted(self, entry: Entry, token: Token) -> Context:
        decoded, now = entry.analysis.token, self.site.store.clock()
        return {
            "token": decoded and (claims(decoded.header, now), claims(decoded.payload, now)),
            "token_signature": decoded and self._token_signature(token, decoded),
            "trusting": self._trusting(entry),
            "may_show": self.may_show_token(entry),
        }

    def _refused(self, entry: Entry, refused: Refused) -> Context:
        compared = entry.analysis.compared
        matched = bool(compared) and all(field.matches for field in compared)
        comparable = entry.client is not None and refused.code != CERTIFICATE_NOT_REGISTERED
        is_mismatch = entry.analysis.assertion is not None and comparable and not matched
        client_id = entry.client_id.lower()
        confused = (identity for identity in self.site.store.identities() if identity.principal_id == client_id)
        return {
            "fix": "" if is_mismatch else fix(refused, audience_of(entry.scope) or "", self.site.azure_cloud),
            "principal": next(confused, None),  # whose principal (object) id was taken for its client id
            "trusting": self._trusting(entry) if is_mismatch else None,
        }

    def _trusting(self, entry: Entry) -> FederatedCredential | None:
        """Return the federated credential that trusts the assertion now, if any."""
        store, assertion = self.site.store, entry.analysis.assertion
        client = store.client(entry.client_id) if entry.client_id else None
        if client is None or assertion is None:
            return None
        credentials = store.federated_credentials(client)
        return next((credential for credential in credentials if is_match(assertion.presented, credential)), None)

    def _token_signature(self, token: Token, decoded: Decoded) -> CheckedSignature:
        for key in self.site.store.issuers.token_keys():
            if key.key_id == decoded.header.get("kid"):
                verified = verifies(token.access_token, key.public)
                return CheckedSignature.VERIFIED if verified else CheckedSignature.WRONG
        return CheckedSignature.UNPUBLISHED

    def _assertion_signature(self, entry: Entry, decoded: Decoded) -> CheckedSignature:
        """Check an assertion against this cloud's own keys only: looking at the page makes no request."""
        key = find_issuer_key(self.site, UnreachableIssuers(), decoded.presented.issuer, decoded.key_id)
        if key is Signature.KEY_NOT_PUBLISHED:
            return CheckedSignature.UNPUBLISHED
        if isinstance(key, Signature):
            return CheckedSignature.ELSEWHERE
        return CheckedSignature.VERIFIED if verifies(entry.assertion, key) else CheckedSignature.WRONG

    def _issuer_url(self, cluster: ManagedCluster) -> str:
        """Return the issuer URL of the attached API server, else of the cluster's issuer in this cloud, if any."""
        store = self.site.store
        attachment = store.clusters.attachment(cluster.name)
        if attachment is not None and attachment.issuer_url:
            return attachment.issuer_url
        return self.site.base_url + store.issuers.named(cluster.issuer).path if cluster.issuer else ""

    def _identities(self, name_filter: str, number: int) -> Context:
        store = self.site.store
        found = [identity for identity in store.identities() if name_filter.casefold() in identity.name.casefold()]
        pages = max(1, -(-len(found) // _IDENTITIES))
        number = min(max(number, 1), pages)
        shown = found[(number - 1) * _IDENTITIES : number * _IDENTITIES]
        return {
            "identities": [(identity, store.federated_credentials(identity)) for identity in shown],
            "name_filter": name_filter,
            "found": len(found),
            "number": number,
            "pages": pages,
        }


_BREAKS = re.compile(r"[^:/]*[:/]+|[^:/]+", re.DOTALL)


@cache
def templates() -> jinja2.Environment:
    """Return the environment of the templates in this package, each compiled once a process."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(
        moment=moment,
        clock=lambda seconds: moment(seconds)[11:19],
        iso=lambda seconds: moment(seconds).removesuffix(" UTC").replace(" ", "T") + "Z",
        since=since,
        lines=_lines,
        piece=_piece,
        sentence=lambda text: f"{_capital(text)}." if text else "",
        capital=_capital,
        breakable=_breakable,
    )
    return environment


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    """Show text of several lines, such as a command; line breaks within values are spelled out already."""
    return Markup("\n").join(escape(visible(line)) for line in text.split("\n"))


def _piece(piece: Piece) -> Markup:
    """Show a piece of a difference, with visible spaces where it differs."""
    text = visible(piece.text)
    return escape(text.replace(" ", "\N{SYMBOL FOR SPACE}") if piece.differs else text)


def _breakable(text: str) -> Markup:
    """Show a long value that may continue on the next line after a colon or a slash."""
    return Markup("").join(
        Markup('<span class="segment">{}</span>').format(visible(segment)) for segment in _BREAKS.findall(text)
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
