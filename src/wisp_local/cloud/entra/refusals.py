"""Every refusal of the token endpoint, in Entra's words; knows neither the request's bytes nor what is stored.

The texts are those that users of Entra have published with their error reports. docs/reference/cloud.md has their
sources.
Errors are those of RFC 6749 §5.2: `invalid_client` is a 401, everything else a 400.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

_CHECK = "Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
_FEDERATION = "https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
_CASE = "https://learn.microsoft.com/en-us/entra/identity-platform/reference-breaking-changes#august-2024"
_CREDENTIALS = "https://learn.microsoft.com/entra/identity-platform/certificate-credentials"
_DEPLOYMENTS = "https://docs.microsoft.com/en-us/graph/deployments"
_APPLICATION = "https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http"
LONGEST_ASSERTION = (
    25 * 60 * 60
)  # seconds that an assertion may be valid for: a day, and an hour for clocks that differ
CERTIFICATE_NOT_REGISTERED = 700027  # the one refusal of an assertion that no federated credential is compared with
_LAST_INSTANT = 253402300799  # 9999-12-31T23:59:59Z, the last that a datetime can say


@dataclass(frozen=True)
class Refused:
    """Why there is no token: `AADSTS{code}: {text}` with the OAuth `error`, answered with HTTP `status`."""

    code: int
    error: str
    status: int
    text: str


def _refusal(code: int, error: str, text: str) -> Refused:
    return Refused(code, error, 401 if error == "invalid_client" else 400, text)


def tenant_not_found(tenant: str) -> Refused:
    """90002: no such tenant."""
    text = (
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant."
    )
    return _refusal(90002, "invalid_request", text)


def tenant_malformed(tenant: str) -> Refused:
    """900023: what stands for the tenant is neither a GUID nor a domain name."""
    text = f"Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain."
    return _refusal(900023, "invalid_request", text)


def application_not_found(client_id: str, directory: str) -> Refused:
    """700016: the client id belongs to nobody in this tenant."""
    text = (
        f"Application with identifier '{client_id}' was not found in the directory '{directory}'. This can happen if "
        "the application has not been installed by the administrator of the tenant or consented to by any user in "
        "the tenant. You may have sent your authentication request to the wrong tenant."
    )
    return _refusal(700016, "unauthorized_client", text)


def resource_not_found(resource: str, directory: str) -> Refused:
    """500011: the tenant knows no such resource."""
    text = (
        f"The resource principal named {resource} was not found in the tenant named {directory}. This can happen if "
        "the application has not been installed by the administrator of the tenant or consented to by any user in "
        "the tenant. You might have sent your authentication request to the wrong tenant."
    )
    return _refusal(500011, "invalid_resource", text)


def no_federated_credentials(client_id: str, name: str) -> Refused:
    """70025: the client has no federated credential, or its first one has not propagated yet."""
    text = f"The client '{client_id}'({name}) has no configured federated identity credentials."
    return _refusal(70025, "invalid_client", text)


def issuer_mismatch(issuer: str) -> Refused:
    """700211: no federated credential has the assertion's issuer."""
    return _no_match(700211, "issuer", issuer)


def audience_mismatch(audience: str) -> Refused:
    """700212: issuer and subject match a federated credential, the audience does not."""
    return _no_match(700212, "audience", audience)


def subject_mismatch(subject: str) -> Refused:
    """700213: the issuer matches a federated credential, the subject does not."""
    return _no_match(700213, "subject", subject)


def no_match_yet(issuer: str, subject: str, audience: str) -> Refused:
    """70021: a federated credential matches, and is too new to be known everywhere; Entra's older words."""
    text = (
        f"No matching federated identity record found for presented assertion. Assertion Issuer: '{issuer}'. Assertion "
        f"Subject: '{subject}'. Assertion Audience: '{audience}'. {_FEDERATION}"
    )
    return _refusal(70021, "invalid_request", text)


def _no_match(code: int, field: str, value: str) -> Refused:
    text = f"No matching federated identity record found for presented assertion {field} '{value}'."
    return _refusal(code, "invalid_client", f"{text} {_CHECK} {_FEDERATION}")


def subject_differs_in_case(subject: str) -> Refused:
    """7002138: the subject would match if case were ignored, which Entra has not done since August 2024."""
    text = (
        f"No matching federated identity record found for presented assertion subject '{subject}'. The subject matches "
        f"with case-insensitive comparison, but not with case-sensitive comparison. {_CHECK} See documentation at: "
        f"{_FEDERATION}. See breaking change notification and remediation at: {_CASE}."
    )
    return _refusal(7002138, "invalid_client", text)


def not_within_valid_time(now: float, not_before: float, expires: float) -> Refused:
    """700024: the assertion has expired or is not valid yet; all three are Unix seconds."""
    text = (
        f"Client assertion is not within its valid time range. Current time: {_instant(now)}, assertion valid from "
        f"{_instant(not_before)}, expiry time of assertion {_instant(expires)}. Review the documentation at "
        f"{_CREDENTIALS} ."
    )
    return _refusal(700024, "invalid_client", text)


def _instant(seconds: float) -> str:
    moment = datetime.fromtimestamp(min(max(seconds, 0), _LAST_INSTANT), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}0Z"  # .NET writes seven decimals


def assertion_too_long_lived() -> Refused:
    """70023: the assertion is valid for more than `LONGEST_ASSERTION`, written as .NET writes a time span."""
    days, seconds = divmod(LONGEST_ASSERTION, 24 * 60 * 60)
    text = f"The assertion must have a lifetime of less than or equal to {days}.{seconds // 3600:02}:00:00."
    return _refusal(70023, "invalid_client", text)


def issued_by_entra() -> Refused:
    """700222: a federated credential names this tenant's own Entra as its issuer."""
    return _refusal(700222, "invalid_client", "AAD-issued tokens may not be used for federated identity flows.")


def issued_by_other_tenant(issuer: str) -> Refused:
    """700236: a federated credential names another tenant's Entra as its issuer."""
    text = (
        f"Entra ID tokens issued by issuer '{issuer}' may not be used for federated identity credential flows for "
        "applications or managed identities registered in this tenant."
    )
    return _refusal(700236, "invalid_client", text)


def certificate_not_registered(client_id: str, thumbprint: str) -> Refused:
    """700027: the client signed the assertion itself with a certificate; `thumbprint` is hexadecimal or empty."""
    key = f" Thumbprint of key used by client: '{thumbprint}'," if thumbprint else ""
    text = (
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason "
        f"- The key was not found.,{key} Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see "
        f"configured keys for app Id '{client_id}'. Review the documentation at {_DEPLOYMENTS} to determine the "
        f"corresponding service endpoint and {_APPLICATION} to build a query request URL, such as "
        f"'https://graph.microsoft.com/beta/applications/{client_id}']."
    )
    return _refusal(CERTIFICATE_NOT_REGISTERED, "invalid_client", text)


def malformed_assertion() -> Refused:
    """50027: not a JWT, a claim missing or of the wrong type, `crit` or `b64`, or a signature that does not verify."""
    return _refusal(50027, "invalid_client", "JWT token is invalid or malformed.")


def header_type_not_allowed() -> Refused:
    """5002727: the header's `typ` is given and is not JWT."""
    text = "Invalid JWT header type specified. Allowed types: 'JWT','http://openid.net/specs/jwt/1.0'."
    return _refusal(5002727, "invalid_request", text)


def key_not_usable() -> Refused:
    """5002730: the key cannot be used with the algorithm that the header names, or that is not RS256."""
    return _refusal(5002730, "invalid_request", "Invalid JWT token. Unsupported key for the signing algorithm.")


def key_not_published(key_id: str, issuer: str) -> Refused:
    """7000272: the issuer publishes no key of this `kid`."""
    text = (
        f"The certificate with identifier {key_id} used to sign the federated credential could not be found in the "
        f"metadata of identity provider {issuer}. Please validate that your Identity Provider's metadata exposes the "
        "key used to sign the incoming token."
    )
    return _refusal(7000272, "invalid_client", text)


def issuer_unreachable() -> Refused:
    """50166: the issuer's discovery document or keys could not be fetched."""
    return _refusal(50166, "invalid_request", "Request to External OIDC endpoint failed.")


def scope_malformed(scope: str) -> Refused:
    """70011: the scope names no resource."""
    text = (
        f"{_invalid_scope(scope)} The scope format is invalid. Scope must be in a valid URI form "
        "<https://example/scope> or a valid Guid <guid/scope>."
    )
    return _refusal(70011, "invalid_scope", text)


def several_resources(scope: str) -> Refused:
    """70011: the scope names more than one resource."""
    return _refusal(70011, "invalid_scope", _invalid_scope(scope))


def _invalid_scope(scope: str) -> str:
    return (
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter "
        f"'scope' is not valid. The scope {scope} is not valid."
    )


def scope_without_default(scope: str) -> Refused:
    """1002012: the scope does not end in `/.default`, the only one that an application can request."""
    text = (
        f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value with "
        "/.default suffixed to the resource identifier (application ID URI)."
    )
    return _refusal(1002012, "invalid_scope", text)


def parameter_missing(names: Iterable[str]) -> Refused:
    """900144: a parameter that the grant needs is absent or empty."""
    wanted = "' or '".join(names)
    return _refusal(900144, "invalid_request", f"The request body must contain the following parameter: '{wanted}'.")


def credential_missing() -> Refused:
    """7000218: the client did not say who it is."""
    text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
    return _refusal(7000218, "invalid_client", text)


def secret_invalid(client_id: str) -> Refused:
    """7000215: the client has no such secret; a managed identity has none at all."""
    text = (
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not "
        f"the client secret ID, for a secret added to app '{client_id}'."
    )
    return _refusal(7000215, "invalid_client", text)


def secret_expired(client_id: str) -> Refused:
    """7000222: the secret was right once."""
    text = (
        f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create new keys "
        "for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: "
        "https://aka.ms/certCreds."
    )
    return _refusal(7000222, "invalid_client", text)


def grant_not_supported(grant: str) -> Refused:
    """70003: a grant other than client_credentials."""
    return _refusal(70003, "unsupported_grant_type", f"The app requested an unsupported grant type '{grant}'.")


def request_malformed() -> Refused:
    """9002313: the request's own form is wrong: its encoding, a parameter given twice, an unknown assertion type."""
    return _refusal(9002313, "invalid_request", "Invalid request. Request is malformed or invalid.")


def request_too_large() -> Refused:
    """9002313 with 413: the body is longer than the endpoint reads."""
    return Refused(9002313, "invalid_request", 413, request_malformed().text)


def method_not_allowed(method: str) -> Refused:
    """900561 with 405: the token endpoint takes POST only."""
    text = f"The endpoint only accepts POST requests. Received a {method} request."
    return Refused(900561, "invalid_request", 405, text)
