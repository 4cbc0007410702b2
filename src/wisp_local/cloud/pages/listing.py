"""One line of the list of exchanges: what is worth seeing before it is opened."""

from dataclasses import dataclass

from wisp_local.cloud.entra.directory import Application
from wisp_local.cloud.entra.exchange import Token
from wisp_local.cloud.entra.request import audience_of
from wisp_local.cloud.pages.record import Entry


@dataclass(frozen=True)
class Line:
    """An exchange in short; `who` is the identity when it is `named`, else a client id; granted, `code` is 0."""

    entry: Entry
    granted: bool
    who: str
    subject: str
    resource: str
    named: bool
    code: int
    why: str


def line(entry: Entry) -> Line:
    """Sum up an exchange."""
    examined, outcome = entry.examined, entry.outcome
    subject = examined.assertion.presented.subject if examined.assertion else ""
    granted = isinstance(outcome, Token)
    code = 0 if isinstance(outcome, Token) else outcome.code
    resource = audience_of(entry.scope) or entry.scope
    name = _identity_name(entry)
    return Line(entry, granted, name or entry.client_id, subject, resource, bool(name), code, examined.in_short)


def _identity_name(entry: Entry) -> str:
    """Return the name of the identity whose token it is or would have been, if it is one."""
    if entry.client is not None:
        return entry.client.display_name if isinstance(entry.client, Application) else entry.client.name
    token = entry.examined.token
    resource_id = token.payload.get("xms_mirid") if token else None
    return resource_id.rpartition("/")[2] if isinstance(resource_id, str) else ""
