"""Decides what a request to the metadata service asks for. Knows no socket, no clock and no settings.

Source: Azure, "How to use managed identities on an Azure VM to acquire an access token", and what the SDKs were seen to
send.
"""

from wisp.base.secret import Secret
from wisp.http.head import Request
from wisp.imds.checks import check
from wisp.imds.decision import Decision, NamedSelector, PassOn, Refuse, Selector, TokenRequest, invalid
from wisp.imds.dialects import UNAUTHORIZED, Dialect, dialect_of, shows
from wisp.imds.target import Target, parse_form, parse_target

TOKEN_PATH = "/metadata/identity/oauth2/token"  # noqa: S105 -- a path

HEALTH_PATHS = ("/readyz", "/healthz")
"""The paths that need no identity header where every other one does: a probe does not know it."""

LONGEST_RESOURCE = 1024
"""Characters; Azure's own identifiers end at 255. It bounds what the store and the log have to hold."""

_LONGEST_CAPABILITIES = 64
_CAPABILITY_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-,")
_HEXADECIMAL = frozenset("0123456789abcdef")
_SHA256_DIGITS = 64
_FORM = b"application/x-www-form-urlencoded"

Parameters = tuple[tuple[str, str], ...]


def decide(request: Request, identity_header: Secret | None = None, *, header_required: bool = False) -> Decision:
    """Decide what `request` asks for.

    `identity_header` is the value that clients of App Service's dialect must send, if the pod has one. With
    `header_required`, every request must send it, on every path but the health pages.
    """
    rejected = check(request)
    if rejected is not None:
        return rejected
    target = parse_target(request.target)
    if target is None:
        return invalid("The request target must be a path, or an http URL, in UTF-8")
    path = canonical(target.path)
    if header_required and path not in HEALTH_PATHS and not shows(request, identity_header):
        return UNAUTHORIZED
    return _about_token(request, target, identity_header) if path == TOKEN_PATH else PassOn(path)


def _about_token(request: Request, target: Target, identity_header: Secret | None) -> TokenRequest | Refuse:
    if request.method not in (b"GET", b"POST"):
        return Refuse(405, "method_not_allowed", "The token endpoint takes GET and POST only", "GET, POST")
    dialect = dialect_of(request, dict(_named(target.parameters)).get("api-version"), identity_header)
    if isinstance(dialect, Refuse):
        return dialect
    parameters = target.parameters if request.method == b"GET" else _body_parameters(request)
    return parameters if isinstance(parameters, Refuse) else _token_request(dialect, _named(parameters))


def canonical(path: str) -> str:
    """Return `path` in the spelling that routes are compared in.

    SDKs put slashes before and after, and Azure does not mind the case. Nothing is decoded: a path with an escape in it
    is not one of ours, and stays so.
    """
    return "/" + path.strip("/").lower()


def _body_parameters(request: Request) -> Parameters | Refuse:
    """Return the form in the body; a body that says it is something else is refused rather than guessed at."""
    kind = (request.header(b"content-type") or _FORM).partition(b";")[0].strip().lower()
    try:
        return parse_form(request.body) if kind == _FORM else invalid("The body must be a form: " + _FORM.decode())
    except UnicodeDecodeError:
        return invalid("The form in the body must be in UTF-8")


def _named(parameters: Parameters) -> Parameters:
    """Return the parameters by names in lower case: a selector in another case is not to mean the default identity."""
    return tuple((name.lower(), value) for name, value in parameters)


def _token_request(dialect: Dialect, parameters: Parameters) -> TokenRequest | Refuse:
    values = dict(parameters)
    complaint = _about_version(dialect, values.get("api-version")) or _about_resource(values.get("resource"))
    if complaint is not None:
        return invalid(complaint)
    if [name for name, _ in parameters].count("resource") > 1:
        return invalid("The parameter resource is given more than once")
    capabilities = values.get("xms_cc", "")
    if len(capabilities) > _LONGEST_CAPABILITIES or not _CAPABILITY_CHARACTERS.issuperset(capabilities):
        return invalid("The xms_cc parameter must be names of capabilities, separated by commas")
    selectors = tuple(
        NamedSelector(name, Selector(dialect.selectors[name], value))
        for name, value in parameters
        if value and name in dialect.selectors
    )
    return TokenRequest(
        values["resource"],
        selectors[0].selector if selectors else None,
        capabilities,
        renew=values.get("bypass_cache", "").lower() == "true" or bool(values.get("claims")),
        revoked=_revoked(values.get("token_sha256_to_refresh", "")),
        selectors=selectors if len(selectors) > 1 else (),
    )


def _revoked(text: str) -> str:
    """Return the SHA-256 of a rejected token in lower-case digits; nothing if `text` is not one.

    MSAL sends lower-case digits after a claims challenge. A value that cannot be the hash of any token is ignored like
    one that is the hash of an unknown token: the client gets the token that it would get without the parameter.
    """
    digest = text.lower()
    return digest if len(text) == _SHA256_DIGITS and _HEXADECIMAL.issuperset(digest) else ""


def _about_version(dialect: Dialect, version: str | None) -> str | None:
    """Say what is wrong with the api-version, if anything."""
    if dialect.versions is None or dialect.versions.include(version):
        return None
    said = "is not specified" if version is None else "is not supported"
    return f"The api-version {said}. Versions served: {dialect.versions.described()}"


def _about_resource(resource: str | None) -> str | None:
    """Say what is wrong with the resource, if anything."""
    if not resource:
        return "Required audience parameter not specified"
    if not resource.isprintable():
        return "The resource holds characters that no resource has"
    if len(resource) > LONGEST_RESOURCE:
        return f"The resource is longer than {LONGEST_RESOURCE} characters"
    return None
