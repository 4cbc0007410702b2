"""Decides in which dialect the token endpoint is asked, and whether the asker may. Knows no socket and no clock.

One URL serves them all: the metadata service's own; App Service's of 2019 and of 2017, which the SDKs speak when
IDENTITY_ENDPOINT or MSI_ENDPOINT is set; and Cloud Shell's POST. Sources: Azure, "Use managed identities for App
Service" (REST endpoint reference), and what the SDKs were seen to send.
"""

from _operator import _compare_digest as compare_digest  # hmac has it too, and would load OpenSSL into every pod
from collections.abc import Mapping
from typing import NamedTuple

from wisp.http.head import Request
from wisp.imds.decision import Refuse, invalid
from wisp.secret import Secret

_PUBLISHED = (
    "2018-02-01 2018-04-02 2018-10-01 2019-02-01 2019-03-11 2019-04-30 2019-06-01 2019-06-04 2019-08-01 "
    "2019-08-15 2019-11-01 2020-06-01 2020-07-15 2020-09-01 2020-10-01 2020-12-01 2021-01-01 2021-02-01 "
    "2021-03-01 2021-05-01 2021-10-01 2021-11-01 2021-11-15 2021-12-13 2023-07-01 2023-11-15 2024-03-15 "
    "2024-07-17 2025-04-07 "
)
API_VERSIONS = frozenset(_PUBLISHED.split())
"""Every published version of the metadata service that has the token endpoint; they ask for a token in the same way."""

_APP_SERVICE_VERSION = "2019-08-01"
_OLD_APP_SERVICE_VERSION = "2017-09-01"


class Dialect(NamedTuple):
    """A way of asking: the api-versions served (None: none is asked for), and what parameter names an identity how."""

    versions: frozenset[str] | None
    selectors: Mapping[str, str]


_NAMES = {"client_id": "client_id", "object_id": "object_id", "msi_res_id": "resource_id", "mi_res_id": "resource_id"}
"""The resource id has two spellings: most SDKs send msi_res_id, Java and Go's adal mi_res_id."""

METADATA_SERVICE = Dialect(API_VERSIONS, _NAMES)
APP_SERVICE = Dialect(frozenset({_APP_SERVICE_VERSION}), {**_NAMES, "principal_id": "object_id"})
OLD_APP_SERVICE = Dialect(frozenset({_OLD_APP_SERVICE_VERSION}), {**_NAMES, "clientid": "client_id"})
CLOUD_SHELL = Dialect(None, _NAMES)

_FOREIGN_WITHOUT_HEADER = (_APP_SERVICE_VERSION, _OLD_APP_SERVICE_VERSION)
NO_METADATA_HEADER = Refuse(400, "bad_request_102", "Required metadata header not specified")
FORWARDED = invalid("Requests with an X-Forwarded-For header are not accepted: the metadata service is not proxied")
UNAUTHORIZED = Refuse(
    401, "unauthorized", "The X-IDENTITY-HEADER (or secret) header is missing or is not the pod's IDENTITY_HEADER"
)


def dialect_of(request: Request, version: str | None, identity_header: Secret | None) -> Dialect | Refuse:
    """Return the dialect of a request to the token endpoint, or why it is not served.

    `version` is its api-version; `identity_header` the value that App Service's clients must show, None where the pod
    has none. Each dialect has a header that neither a browser nor a forgotten reverse proxy sets.
    """
    if request.header(b"x-forwarded-for") is not None:
        return FORWARDED
    with_metadata = has_metadata_header(request)
    if request.method == b"POST":
        return CLOUD_SHELL if with_metadata else NO_METADATA_HEADER
    shown = _shown(request)
    if identity_header is not None and (shown or (not with_metadata and version in _FOREIGN_WITHOUT_HEADER)):
        if not shows(request, identity_header):
            return UNAUTHORIZED
        if version == _OLD_APP_SERVICE_VERSION:
            return OLD_APP_SERVICE
        return METADATA_SERVICE if with_metadata else APP_SERVICE
    return METADATA_SERVICE if with_metadata else NO_METADATA_HEADER


def shows(request: Request, identity_header: Secret | None) -> bool:
    """Say whether the request shows the pod's identity header, under either of its names."""
    return identity_header is not None and compare_digest(_shown(request) or b"", identity_header.reveal().encode())


def _shown(request: Request) -> bytes | None:
    return request.header(b"x-identity-header") or request.header(b"secret")


def has_metadata_header(request: Request) -> bool:
    """Say whether the client shows by `Metadata: true` that it means to ask the metadata service."""
    return (request.header(b"metadata") or b"").lower() == b"true"
