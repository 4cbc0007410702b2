"""Decides in which dialect the token endpoint is asked, and whether the asker may. Knows no socket and no clock.

One URL serves them all: the metadata service's own; App Service's of 2019 and of 2017, which the SDKs speak when
IDENTITY_ENDPOINT or MSI_ENDPOINT is set; Service Fabric's; and Cloud Shell's POST. Sources: Azure, "Use managed
identities for App Service" (REST endpoint reference), and what the SDKs were seen to send.
"""

from _operator import _compare_digest as compare_digest  # hmac has it too, and would load OpenSSL into every pod
from collections.abc import Mapping
from typing import NamedTuple

from wisp.base.secret import Secret
from wisp.http.head import Request
from wisp.imds import versions
from wisp.imds.decision import Refuse, invalid
from wisp.imds.versions import Versions


class Dialect(NamedTuple):
    """A way of asking: the api-versions served (None: none is asked for), and what parameter names an identity how."""

    versions: Versions | None
    selectors: Mapping[str, str]


_NAMES = {"client_id": "client_id", "object_id": "object_id", "msi_res_id": "resource_id", "mi_res_id": "resource_id"}
"""The resource id has two spellings: most SDKs send msi_res_id, Java and Go's adal mi_res_id."""

METADATA_SERVICE = Dialect(versions.METADATA_SERVICE, _NAMES)
APP_SERVICE = Dialect(versions.APP_SERVICE, {**_NAMES, "principal_id": "object_id"})
SERVICE_FABRIC = Dialect(versions.SERVICE_FABRIC, _NAMES)
OLD_APP_SERVICE = Dialect(versions.OLD_APP_SERVICE, {**_NAMES, "clientid": "client_id"})
CLOUD_SHELL = Dialect(None, _NAMES)

_FOREIGN_WITHOUT_HEADER = (
    *versions.APP_SERVICE.published,
    *versions.SERVICE_FABRIC.published,
    *versions.OLD_APP_SERVICE.published,
)
IDENTITY_HEADERS = (b"x-identity-header", b"secret")
"""The header that App Service's clients show, in its version of 2019 and in that of 2017."""

NO_METADATA_HEADER = Refuse(400, "bad_request_102", "Required metadata header not specified")
FORWARDED = invalid("Requests with an X-Forwarded-For header are not accepted: the metadata service is not proxied")
UNAUTHORIZED = Refuse(
    401, "unauthorized", "The X-IDENTITY-HEADER (or secret) header is missing or is not the pod's IDENTITY_HEADER"
)


def dialect_of(request: Request, version: str | None, identity_header: Secret | None) -> Dialect | Refuse:
    """Return the dialect of a request to the token endpoint, or why it is not served.

    `version` is its api-version; `identity_header` the value that App Service's clients must show. If the sidecar has
    none, it has nothing to compare with and takes any value, an empty one included: Microsoft's migration page has
    users set IDENTITY_HEADER=true on the application alone. The presence of the header still shows that no web page
    sent the request: a browser sends neither `Metadata` nor the identity header to another origin unasked.
    """
    if request.header(b"x-forwarded-for") is not None:
        return FORWARDED
    with_metadata = has_metadata_header(request)
    if request.method == b"POST":
        return CLOUD_SHELL if with_metadata else NO_METADATA_HEADER
    shown = _shown(request)
    if identity_header is None:
        as_app_service = shown is not None
    else:
        as_app_service = bool(shown) or (not with_metadata and version in _FOREIGN_WITHOUT_HEADER)
        if as_app_service and not shows(request, identity_header):
            return UNAUTHORIZED
    if not as_app_service:
        return METADATA_SERVICE if with_metadata else NO_METADATA_HEADER
    return _of_version(version) or (METADATA_SERVICE if with_metadata else APP_SERVICE)


def _of_version(version: str | None) -> Dialect | None:
    """Return the dialect, of those with an identity header, that has the api-version."""
    dialects = (APP_SERVICE, SERVICE_FABRIC, OLD_APP_SERVICE)
    return next((each for each in dialects if each.versions is not None and each.versions.include(version)), None)


def shows(request: Request, identity_header: Secret | None) -> bool:
    """Say whether the request shows the pod's identity header, under either of its names."""
    return identity_header is not None and compare_digest(_shown(request) or b"", identity_header.reveal().encode())


def _shown(request: Request) -> bytes | None:
    """Return the identity header of the request, preferring a name that has a value; None if it has neither."""
    values = [value for name in IDENTITY_HEADERS if (value := request.header(name)) is not None]
    return max(values, key=bool, default=None)


def has_metadata_header(request: Request) -> bool:
    """Say whether the client shows by `Metadata: true` that it means to ask the metadata service."""
    return (request.header(b"metadata") or b"").lower() == b"true"
