"""Parse a request to the metadata service, once, into a token request, a refusal, or a path to serve otherwise.

Sources: Azure, "How to use managed identities on an Azure VM to acquire an access token", and what the SDKs were seen
to send.
"""

from typing import NamedTuple, TypeAlias

from wisp.base.secret import Secret
from wisp.http.messages import Request
from wisp.imds.answer import Refusal, invalid
from wisp.imds.dialects import UNAUTHORIZED, Dialect, dialect_of, has_identity_header

TOKEN_PATH = "/metadata/identity/oauth2/token"  # noqa: S105 -- a path

HEALTH_PATHS = ("/readyz", "/healthz")
"""The paths that need no identity header where every other one does: a probe does not know it."""

LONGEST_RESOURCE = 1024
"""Characters; Azure's own identifiers end at 255. It bounds what the token store and the log have to hold."""

_LONGEST_CAPABILITIES = 64
# Strings of characters, because a set of 64 takes 8 kB in every pod. `text.strip(characters)` is empty if `text` has no
# others.
_CAPABILITY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-,"
_HEXADECIMAL = "0123456789abcdef"
_SHA256_DIGITS = 64
_FORM = b"application/x-www-form-urlencoded"

Parameters = tuple[tuple[str, str], ...]


class Selector(NamedTuple):
    """Which identity a client selects: `kind` is client_id, object_id or resource_id."""

    kind: str
    value: str


class TokenRequest(NamedTuple):
    """A request for a token for `resource`, exactly as spelled; of the default identity if there is no selector."""

    resource: str
    selector: Selector | None
    """The first one, if there are several."""
    capabilities: str = ""
    """What the client says it can do (xms_cc, such as CP1)."""
    renew: bool = False
    """Whether the client wants a token newer than the one that it may have from before."""
    revoked: str = ""
    """SHA-256 of a token that a resource rejected, in lower-case hexadecimal digits; empty if the client names none."""
    selectors: tuple[tuple[str, Selector], ...] = ()
    """All selectors, if there are several, each after the parameter that gave it, in lower case."""


class OtherPath(NamedTuple):
    """A request for another endpoint; `path` is in lower case, without extra slashes."""

    path: str


Decision: TypeAlias = TokenRequest | Refusal | OtherPath


def decide(request: Request, identity_header: Secret | None = None, *, header_required: bool = False) -> Decision:
    """Decide what `request` asks for.

    `identity_header` is the value that clients of App Service's dialect must send, if the pod has one. With
    `header_required`, every request must send it, on every path but the health pages.
    """
    refusal = check(request)
    if refusal is not None:
        return refusal
    target = parse_target(request.target)
    if target is None:
        return invalid("The request target must be a path, or an http URL, in UTF-8")
    path = canonical(target[0])
    if header_required and path not in HEALTH_PATHS and not has_identity_header(request, identity_header):
        return UNAUTHORIZED
    return _decide_token(request, target[1], identity_header) if path == TOKEN_PATH else OtherPath(path)


def _decide_token(request: Request, parameters: Parameters, identity_header: Secret | None) -> TokenRequest | Refusal:
    if request.method not in (b"GET", b"POST"):
        return Refusal(405, "method_not_allowed", "The token endpoint takes GET and POST only", "GET, POST")
    dialect = dialect_of(request, dict(_lower_names(parameters)).get("api-version"), identity_header)
    if isinstance(dialect, Refusal):
        return dialect
    form = parameters if request.method == b"GET" else _body_parameters(request)
    return form if isinstance(form, Refusal) else _token_request(dialect, _lower_names(form))


def canonical(path: str) -> str:
    """Return `path` in the spelling that routes are compared in.

    SDKs put slashes before and after, and Azure ignores case. Nothing is decoded: no path of ours has an escape.
    """
    return "/" + path.strip("/").lower()


def _body_parameters(request: Request) -> Parameters | Refusal:
    """Return the form in the body; a body that claims another type is refused rather than guessed at."""
    content_type = (request.header(b"content-type") or _FORM).partition(b";")[0].strip().lower()
    try:
        return (
            parse_form(request.body) if content_type == _FORM else invalid("The body must be a form: " + _FORM.decode())
        )
    except UnicodeDecodeError:
        return invalid("The form in the body must be in UTF-8")


def _lower_names(parameters: Parameters) -> Parameters:
    """Return the parameters by names in lower case: a selector in another case must not mean the default identity."""
    return tuple((name.lower(), value) for name, value in parameters)


def _token_request(dialect: Dialect, parameters: Parameters) -> TokenRequest | Refusal:
    problem = _problem(dialect, parameters)
    if problem is not None:
        return invalid(problem)
    values = dict(parameters)
    selectors = tuple(
        (name, Selector(dialect.selectors[name], value))
        for name, value in parameters
        if value and name in dialect.selectors
    )
    return TokenRequest(
        values["resource"],
        selectors[0][1] if selectors else None,
        values.get("xms_cc", ""),
        renew=values.get("bypass_cache", "").lower() == "true" or bool(values.get("claims")),
        revoked=_sha256(values.get("token_sha256_to_refresh", "")),
        selectors=selectors if len(selectors) > 1 else (),
    )


def _problem(dialect: Dialect, parameters: Parameters) -> str | None:
    """Return what is wrong with the parameters, if anything."""
    values = dict(parameters)
    version, resource, capabilities = values.get("api-version"), values.get("resource"), values.get("xms_cc", "")
    problem = None
    if not dialect.serves(version):
        state = "is not specified" if version is None else "is not supported"
        problem = f"The api-version {state}. Versions served: {dialect.described_versions()}"
    elif not resource:
        problem = "Required audience parameter not specified"
    elif not resource.isprintable():
        problem = "The resource holds characters that no resource has"
    elif len(resource) > LONGEST_RESOURCE:
        problem = f"The resource is longer than {LONGEST_RESOURCE} characters"
    elif [name for name, _ in parameters].count("resource") > 1:
        problem = "The parameter resource is given more than once"
    elif len(capabilities) > _LONGEST_CAPABILITIES or capabilities.strip(_CAPABILITY_CHARACTERS):
        problem = "The xms_cc parameter must be names of capabilities, separated by commas"
    return problem


def _sha256(text: str) -> str:
    """Return the SHA-256 of a rejected token in lower-case digits, or an empty text if `text` is not one.

    MSAL sends lower-case digits after a claims challenge. A value that cannot be the hash of any token is ignored like
    one that is the hash of an unknown token: the client gets the token that it would get without the parameter.
    """
    digest = text.lower()
    return digest if len(text) == _SHA256_DIGITS and not digest.strip(_HEXADECIMAL) else ""


# Checks on every route. The client to keep out is a web page. A browser lets a page reach loopback, and DNS rebinding
# gives the page the sidecar's origin, so it may set any header except those that the browser controls: Host, Origin and
# Sec-Fetch-Site.

_DECISIVE_HEADERS = frozenset(
    (
        b"content-type", b"expect", b"host", b"metadata", b"origin", b"sec-fetch-site", b"secret", b"x-forwarded-for",
        b"x-identity-header", b"x-wisp-passed",
    )
)  # fmt: skip
"""The headers that decide how a request is answered. Each may be given once."""
_LOCAL_NAMES = frozenset((b"169.254.169.254", b"localhost", b"[::1]"))
_DIGITS = b"0123456789"

MISDIRECTED = Refusal(
    421,
    "misdirected_request",
    "The request is for another host. The Host header, and the host of an absolute request target, must be "
    "169.254.169.254, localhost or a loopback address",
)
"""RFC 9110 §15.5.20."""
FROM_WEB_PAGE = Refusal(
    403,
    "forbidden",
    "Requests from web pages are rejected: this one has an Origin header, or a Sec-Fetch-Site header other than none",
)


def decisive_fields(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header fields that decide how `request` is answered, in their order."""
    return tuple(field for field in request.headers if field[0] in _DECISIVE_HEADERS)


def check(request: Request) -> Refusal | None:
    """Return why `request` is rejected on every route, or None.

    Only HTTP/1.0 may omit Host (RFC 9112 §3.2), which the parser of heads enforces. The host of an absolute target
    takes the place of Host (RFC 9112 §3.2.2); both must be acceptable.
    """
    found: dict[bytes, bytes] = {}
    for name, value in request.headers:
        if name in _DECISIVE_HEADERS:
            if name in found:
                return invalid(f"The request has more than one {name.decode()} header. Send it once")
            found[name] = value
    host, target_host = found.get(b"host"), authority_of(request.target)
    if (host is not None and not is_local(host)) or (target_host is not None and not is_local(target_host)):
        return MISDIRECTED
    if b"origin" in found or found.get(b"sec-fetch-site", b"none") != b"none":
        return FROM_WEB_PAGE
    return None


def is_local(authority: bytes) -> bool:
    """Return whether `authority`, a host with or without a port, is the metadata service's address or loopback.

    A name that DNS can resolve to any address is not, however it ends or begins.
    """
    without_digits = authority.rstrip(_DIGITS)
    host = without_digits[:-1] if without_digits.endswith(b":") else authority
    numbers = host.split(b".")
    is_loopback = len(numbers) == 4 and numbers[0] == b"127" and all(map(_is_octet, numbers))
    return host.lower() in _LOCAL_NAMES or is_loopback


def _is_octet(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 3 and int(text) <= 255 and b"%d" % int(text) == text


# Request targets (RFC 9112 §3.2) and forms.


def parse_target(target: bytes) -> tuple[str, Parameters] | None:
    """Return the path, as sent, and the query of an origin-form or absolute-form target; None for any other text."""
    split = split_target(target)
    if split is None:
        return None
    path, query = split
    try:
        return path.decode("ascii") or "/", parse_form(query)
    except UnicodeDecodeError:
        return None


def split_target(target: bytes) -> tuple[bytes, bytes] | None:
    """Return the path and the query of an origin-form or absolute-form target, as sent; None for any other."""
    authority = authority_of(target)
    if authority is not None:
        target = target.partition(b"://")[2][len(authority) :]
    elif not target.startswith(b"/"):
        return None
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return path, query


def authority_of(target: bytes) -> bytes | None:
    """Return the authority of an absolute-form target (RFC 9112 §3.2.2), as sent; None for any other form."""
    if target.startswith(b"/"):
        return None
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        return None
    return rest[: min((at for mark in (b"/", b"?", b"#") if (at := rest.find(mark)) >= 0), default=len(rest))]


def parse_form(text: bytes) -> Parameters:
    """Decode `application/x-www-form-urlencoded` text (WHATWG URL §5.1). Raise UnicodeDecodeError unless UTF-8."""
    pairs = [pair.partition(b"=") for pair in text.split(b"&") if pair]
    return tuple((_decode(name), _decode(value)) for name, _, value in pairs)


def _decode(text: bytes) -> str:
    """Undo the encoding of a form's name or value; a `%` without two hexadecimal digits stands for itself."""
    text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text.decode()
    first, *rest = text.split(b"%")
    return b"".join([first, *(_unescape(part) for part in rest)]).decode()


def _unescape(part: bytes) -> bytes:
    """Return what `%` and `part`, which follows it, stand for."""
    digits = part[:2]
    if len(digits) == 2 and digits.isalnum():
        try:
            return bytes((int(digits, 16),)) + part[2:]
        except ValueError:
            pass
    return b"%" + part
