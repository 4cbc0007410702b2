"""Why there was no token, in one line and in plain words; knows the refusal and the comparison alone."""

from collections.abc import Sequence

from wisp_local.cloud.entra.audiences import AzureCloud, suggest
from wisp_local.cloud.entra.refusals import LONGEST_ASSERTION, Refused
from wisp_local.cloud.pages.comparison import Compared
from wisp_local.cloud.pages.decoded import Decoded, number
from wisp_local.cloud.pages.readable import moment, span

_HOURS = LONGEST_ASSERTION // 3600
_SHORT = {
    5002727: "the assertion's header names another type than JWT",
    5002730: "the key or its algorithm cannot be used: Entra takes RS256 alone",
    50027: "the assertion is not a JWT, lacks a claim, has crit or b64, or its signature does not verify",
    50166: "the issuer's documents could not be fetched",
    500011: "the tenant knows no such resource",
    70003: "the grant is not supported",
    70011: "the scope names no resource, or more than one",
    70021: "the federated credential that matches has not propagated yet",
    70023: f"the assertion is valid for more than {_HOURS} hours",
    70025: "the identity has no federated credential",
    700016: "no identity has this client id",
    700024: "the assertion was outside its valid time",
    700027: "the client signed the assertion itself with a certificate that is not registered",
    700211: "the identity trusts no such issuer",
    700212: "the identity trusts no such audience",
    700213: "the identity trusts no such subject",
    700222: "the assertion was issued by this tenant's own Entra",
    700236: "the assertion was issued by another tenant's Entra",
    7000215: "a client secret was presented, and it is not valid",
    7000218: "neither an assertion nor a secret was presented",
    7000272: "the issuer does not publish the key that signed the assertion",
    90002: "the tenant is not this one",
    900023: "the tenant is neither a GUID nor a domain name",
    900144: "a parameter is missing from the request",
    1002012: "the scope does not end in /.default",
    9002313: "the request is malformed",
}
_ADVICE = {
    5002730: "Sign with an RSA key and RS256.",
    50027: "Present the service account token whole and unchanged, signed with a key that its issuer publishes.",
    50166: "See that the issuer's discovery document can be reached from here, and that --issuer-ca trusts its server.",
    70011: "Request one resource, an absolute URI or a GUID, followed by /.default.",
    70021: "Wait and try again: a new federated credential takes some time until it is known everywhere.",
    70023: "Project the service account token with an expirationSeconds of 86400, a day, or less.",
    70025: "Wait and try again: the first federated credential takes some time until it is known everywhere.",
    700016: "Use the client id of an identity below, not its principal (object) id, nor one of another cloud.",
    700024: "Read the token file again for every exchange: kubelet replaces it. If the clock is wrong, set it.",
    700027: "Present the service account token as the assertion. This cloud registers no certificates.",
    700222: "Use an issuer other than Entra: a token of Entra cannot be exchanged for another one here.",
    700236: "Use an issuer other than Entra: a token of Entra cannot be exchanged in another tenant.",
    7000215: "A managed identity has no secret: present a federated assertion.",
    7000272: "The key was rotated away, or another cluster with the same issuer URL signed: project a new token.",
    90002: "Set AZURE_TENANT_ID to this cloud's tenant.",
    900023: "Set AZURE_TENANT_ID to this cloud's tenant, and check that the variable in the configuration is replaced.",
    1002012: "Request the resource followed by /.default: an identity cannot request single permissions.",
}


def in_short(refused: Refused, compared: Sequence[Compared]) -> str:
    """Return one line, without a full stop: the first field that differs, else what the code means."""
    for each in compared:
        if not each.matches:
            return f"{each.field.value} {each.explanation}"
    return _SHORT.get(refused.code) or refused.text.partition(". ")[0].rstrip(".")


def advice(refused: Refused, resource: str, cloud: AzureCloud) -> str:
    """Return what to do about a refusal that no federated credential is to blame for; may be empty.

    `resource` is what a token was requested for, `cloud` the one whose services are resources here.
    """
    return _unknown_resource(resource, cloud) if refused.code == 500011 else _ADVICE.get(refused.code, "")


def _unknown_resource(resource: str, cloud: AzureCloud) -> str:
    found = suggest(resource, cloud)
    if found is None:
        return 'If the resource is your own, register it: wisp cloud resource --state="$STATE" URI.'
    if found.cloud is cloud:
        return f"Request a token for {found.resource}: {resource} belongs to {found.service}, but is not a resource."
    instead = f"Request {found.resource} in this one" if found.resource else f"{cloud.value} has no such service"
    return (
        f"{resource} belongs to {found.service} in {found.cloud.value}, and this cloud is {cloud.value}. {instead}, or "
        f"start the cloud with --azure-cloud {found.cloud.value}."
    )


def untimely(assertion: Decoded, at: float) -> str:
    """Say how the assertion was outside its valid time at `at` (Unix seconds); empty when it was not."""
    starts, ends = number(assertion.payload, "nbf"), number(assertion.payload, "exp")
    if ends is None:
        return "has no expiry"
    if at >= ends:
        return f"expired {span(at - ends)} before it was presented"
    if starts is not None and at < starts:
        return f"is valid only {span(starts - at)} after it was presented"
    return ""


def period(assertion: Decoded) -> str:
    """Write from when to when the assertion is valid."""
    starts, ends = number(assertion.payload, "nbf"), number(assertion.payload, "exp")
    return f"{'always' if starts is None else moment(starts)} to {'no end' if ends is None else moment(ends)}"
