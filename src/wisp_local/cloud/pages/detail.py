"""What the template of one exchange is told: reads the state as it is now beside the record of what was."""

from wisp_local.cloud.entra.directory import FederatedCredential, ManagedIdentity
from wisp_local.cloud.entra.exchange import Token
from wisp_local.cloud.entra.refusals import CERTIFICATE_NOT_REGISTERED, Refused
from wisp_local.cloud.entra.request import audience_of
from wisp_local.cloud.pages.decoded import claims
from wisp_local.cloud.pages.listing import line
from wisp_local.cloud.pages.nearest import Presented, is_match
from wisp_local.cloud.pages.record import Entry
from wisp_local.cloud.pages.signatures import access_token_signature, assertion_signature
from wisp_local.cloud.pages.verdict import advice, period, untimely
from wisp_local.cloud.pages.views import Told
from wisp_local.cloud.web import Site


def detail(site: Site, entry: Entry) -> Told:
    """Tell of one exchange, without the token itself."""
    told = {"line": line(entry), "entry": entry, "examined": entry.examined, **_presented(site, entry)}
    if isinstance(entry.outcome, Token):
        return {**told, **_granted(site, entry, entry.outcome)}
    return {**told, **_refused(site, entry, entry.outcome)}


def may_show_token(site: Site, entry: Entry) -> bool:
    """Tell whether anybody on this machine may see the token: not when it has a role, and thus opens more than tokens.

    A role can give the kubeconfig of a real API server, which only some of this machine's users may have.
    """
    token = entry.examined.token
    return token is not None and token.payload.get("oid") not in {
        each.principal_id.lower() for each in site.store.assignments.all()
    }


def _presented(site: Site, entry: Entry) -> Told:
    decoded = entry.examined.assertion
    if decoded is None:
        return {"assertion": None}
    return {
        "assertion": (claims(decoded.header, entry.at), claims(decoded.payload, entry.at)),
        "checked": assertion_signature(site, entry.assertion, decoded),
        "untimely": untimely(decoded, entry.at),
        "period": period(decoded),
    }


def _granted(site: Site, entry: Entry, token: Token) -> Told:
    decoded, now = entry.examined.token, site.store.clock()
    return {
        "token": decoded and (claims(decoded.header, now), claims(decoded.payload, now)),
        "token_checked": decoded and access_token_signature(site.store, token.access_token, decoded),
        "trusting": _trusting(site, entry),
        "may_show": may_show_token(site, entry),
    }


def _refused(site: Site, entry: Entry, refused: Refused) -> Told:
    matched = bool(entry.examined.compared) and all(each.matches for each in entry.examined.compared)
    comparable = entry.client is not None and refused.code != CERTIFICATE_NOT_REGISTERED
    about_the_match = entry.examined.assertion is not None and comparable and not matched
    return {
        "advice": "" if about_the_match else advice(refused, audience_of(entry.scope) or "", site.azure_cloud),
        "mistaken": _with_principal_id(site, entry.client_id),
        "trusting": _trusting(site, entry) if about_the_match else None,
    }


def _trusting(site: Site, entry: Entry) -> FederatedCredential | None:
    """Return the federated credential that trusts the assertion as things are now."""
    client = site.store.client(entry.client_id) if entry.client_id else None
    if client is None or entry.examined.assertion is None:
        return None
    presented: Presented = entry.examined.assertion.presented
    return next((each for each in site.store.federated_credentials(client) if is_match(presented, each)), None)


def _with_principal_id(site: Site, client_id: str) -> ManagedIdentity | None:
    """Return the identity whose principal (object) id was taken for its client id."""
    return next((each for each in site.store.identities() if each.principal_id == client_id.lower()), None)
