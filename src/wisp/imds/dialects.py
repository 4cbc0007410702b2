"""The dialects of the token endpoint: which one a request uses, its api-versions, and whether the client may use it.

One URL serves them all: the metadata service's own; App Service's of 2019 and of 2017, which the SDKs use when
IDENTITY_ENDPOINT or MSI_ENDPOINT is set; Service Fabric's; and Cloud Shell's POST. Sources: Azure, "Use managed
identities for App Service" (REST endpoint reference); azure-rest-api-specs, specification/imds, for the published
versions; and what the SDKs were seen to send. All versions of a dialect request a token in the same way, so a version
published after this release is served too: SDKs move to new versions before pods do.
"""

from _operator import _compare_digest as compare_digest  # hmac exports it too, and would load OpenSSL into every pod
from collections.abc import Mapping
from typing import NamedTuple

from wisp.base.secret import Secret
from wisp.http.messages import Request
from wisp.imds.answer import Refusal, invalid

_DIGITS = frozenset("0123456789")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Dialect(NamedTuple):
    """A way to request a token."""

    versions: tuple[str, ...]
    """The published api-versions, oldest first; empty if the dialect has none."""
    selectors: Mapping[str, str]
    """Parameters that select an identity, and by what: client_id, object_id or resource_id."""
    serves_later: bool = True
    """Whether later dates are served too."""

    def serves(self, version: str | None) -> bool:
        """Return whether a request with this api-version is served."""
        if version is None or not self.versions:
            return not self.versions
        return version in self.versions or (self.serves_later and version > self.versions[-1] and is_date(version))

    def described_versions(self) -> str:
        """Return the text that names the versions in an error."""
        return ", ".join(self.versions) + (" and later dates (YYYY-MM-DD)" if self.serves_later else "")


_SELECTORS = {
    "client_id": "client_id", "object_id": "object_id", "msi_res_id": "resource_id", "mi_res_id": "resource_id",
}  # fmt: skip
"""The resource id has two spellings: most SDKs send msi_res_id, Java and Go's adal mi_res_id."""

METADATA_SERVICE = Dialect(
    (
        "2018-02-01", "2018-04-02", "2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04",
        "2019-08-01", "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01",
        "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01", "2021-11-15",
        "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17", "2025-04-07",
    ),
    _SELECTORS,
)  # fmt: skip
APP_SERVICE = Dialect(("2019-08-01",), {**_SELECTORS, "principal_id": "object_id"})
SERVICE_FABRIC = Dialect(("2019-07-01-preview",), _SELECTORS, serves_later=False)
"""MSAL uses it if IDENTITY_SERVER_THUMBPRINT is set, and only then says which token a resource rejected."""
OLD_APP_SERVICE = Dialect(("2017-09-01",), {**_SELECTORS, "clientid": "client_id"}, serves_later=False)
"""Azure Machine Learning uses it too. It has another header and another selector, so no later version is like it."""
CLOUD_SHELL = Dialect((), _SELECTORS)

_WITH_IDENTITY_HEADER = (APP_SERVICE, SERVICE_FABRIC, OLD_APP_SERVICE)
_VERSIONS_WITH_IDENTITY_HEADER = tuple(version for dialect in _WITH_IDENTITY_HEADER for version in dialect.versions)
IDENTITY_HEADERS = (b"x-identity-header", b"secret")
"""The header that App Service's clients send, in its version of 2019 and in that of 2017."""

NO_METADATA_HEADER = Refusal(400, "bad_request_102", "Required metadata header not specified")
FORWARDED = invalid("Requests with an X-Forwarded-For header are not accepted: the metadata service is not proxied")
UNAUTHORIZED = Refusal(
    401, "unauthorized", "The X-IDENTITY-HEADER (or secret) header is missing or is not the pod's IDENTITY_HEADER"
)


def dialect_of(request: Request, version: str | None, identity_header: Secret | None) -> Dialect | Refusal:
    """Return the dialect of a request to the token endpoint with this api-version, or why it is not served.

    `identity_header` is the value that App Service's clients must send. Without one there is nothing to compare with,
    and any value is accepted, even an empty one: Microsoft's migration page has users set IDENTITY_HEADER=true on the
    application alone. The header still shows that no web page sent the request: a browser sends neither `Metadata` nor
    the identity header to another origin unasked.
    """
    if request.header(b"x-forwarded-for") is not None:
        return FORWARDED
    has_metadata = has_metadata_header(request)
    if request.method == b"POST":
        return CLOUD_SHELL if has_metadata else NO_METADATA_HEADER
    value = _identity_header_of(request)
    if identity_header is None:
        is_app_service = value is not None
    else:
        is_app_service = bool(value) or (not has_metadata and version in _VERSIONS_WITH_IDENTITY_HEADER)
        if is_app_service and not has_identity_header(request, identity_header):
            return UNAUTHORIZED
    if not is_app_service:
        return METADATA_SERVICE if has_metadata else NO_METADATA_HEADER
    dialect = next((dialect for dialect in _WITH_IDENTITY_HEADER if dialect.serves(version)), None)
    return dialect or (METADATA_SERVICE if has_metadata else APP_SERVICE)


def has_identity_header(request: Request, identity_header: Secret | None) -> bool:
    """Return whether the request has the pod's identity header, under either of its names."""
    value = _identity_header_of(request) or b""
    return identity_header is not None and compare_digest(value, identity_header.reveal().encode())


def _identity_header_of(request: Request) -> bytes | None:
    """Return the identity header of the request, preferring a name that has a value; None if it has neither."""
    values = [value for name in IDENTITY_HEADERS if (value := request.header(name)) is not None]
    return max(values, key=bool, default=None)


def has_metadata_header(request: Request) -> bool:
    """Return whether the request has `Metadata: true`, by which a client means the metadata service."""
    return (request.header(b"metadata") or b"").lower() == b"true"


def is_date(text: str) -> bool:
    """Return whether `text` is a date of the calendar in the form YYYY-MM-DD, in ASCII digits."""
    year, month, day = text[:4], text[5:7], text[8:]
    if len(text) != 10 or text[4] + text[7] != "--" or not _DIGITS.issuperset(year + month + day):
        return False
    if not 1 <= int(month) <= 12 or not 1 <= int(day) <= _LONGEST_MONTHS[int(month) - 1]:
        return False
    return month + day != "0229" or (int(year) % 4 == 0 and (int(year) % 100 != 0 or int(year) % 400 == 0))
