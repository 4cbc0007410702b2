"""Read the bodies of requests into what they ask for; knows neither what exists nor what it is about.

Raises `ResourceError` in Azure's words. Properties that this cloud does not use are read past, as newer clients send
more of them with every version.
"""

import json
from collections.abc import Mapping

from wisp_local.cloud.arm import problem
from wisp_local.cloud.names import is_issuer_url

_TAGS = 50
_TAG_NAME, _TAG_VALUE = 512, 256  # characters
_REGION = 60  # characters; it stands in paths and headers
_LIMIT = 600  # characters of an issuer, a subject or an audience


def read_json(body: bytes) -> Mapping[str, object]:
    """Parse a body; an empty one says nothing."""
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise problem.content_invalid("it is no JSON") from error
    if not isinstance(document, dict):
        raise problem.content_invalid("it is no JSON object")
    return document


def part(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object called `name`; one that is absent or null is empty."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise problem.content_invalid(f"'{name}' is no JSON object")
    return value


def text(document: Mapping[str, object], name: str) -> str:
    """Return the string called `name`; one that is absent or null is empty."""
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not is_text(value):
        raise problem.content_invalid(f"'{name}' is no string")
    return value


def is_text(value: str) -> bool:
    """Tell whether `value` can be kept: JSON may escape half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def location(body: Mapping[str, object], default: str = "") -> str:
    """Return the region's short name: clients may write `East US` for `eastus`."""
    found = text(body, "location").replace(" ", "").lower() or default
    if not found:
        message = "The location property is required for this definition."
        raise problem.ResourceError(400, "LocationRequired", message)
    if not (found.isascii() and found.isalnum()) or len(found) > _REGION:
        message = f"The provided location {found!a:.80} is not available: a region's name is letters and digits."
        raise problem.ResourceError(400, "LocationNotAvailableForResourceType", message)
    return found


def tags(body: Mapping[str, object]) -> Mapping[str, str] | None:
    """Return the tags, None when there is no word about them (https://aka.ms/arm-tag-limits)."""
    if body.get("tags") is None:
        return None
    found = part(body, "tags")
    if len(found) > _TAGS:
        message = f"The resource has {len(found)} tags. At most {_TAGS} are allowed."
        raise problem.ResourceError(400, "InvalidTags", message)
    for name, value in found.items():
        if not isinstance(value, str) or not is_text(name + value):
            raise problem.ResourceError(400, "InvalidTags", f"The value of tag '{name!a:.80}' is no string.")
        if not 0 < len(name) <= _TAG_NAME or len(value) > _TAG_VALUE:
            message = f"Tag '{name:.80}' is too long: names have up to {_TAG_NAME} characters, values {_TAG_VALUE}."
            raise problem.ResourceError(400, "InvalidTags", message)
    return {name: str(value) for name, value in found.items()}


def federated_credential(body: Mapping[str, object]) -> tuple[str, str, tuple[str, ...]]:
    """Return issuer, subject and audiences of a federated credential, checked as Azure checks them."""
    properties = part(body, "properties")
    issuer, subject = text(properties, "issuer"), text(properties, "subject")
    audiences = properties.get("audiences")
    if not issuer or not subject or not audiences:
        message = "Federated Identity Credential must specify 'issuer', 'subject' and 'audience'."
        raise problem.bad_request(f"The request format was unexpected. {message}")
    if not isinstance(audiences, list) or len(audiences) != 1 or not isinstance(audiences[0], str):
        raise problem.bad_request("Federated identity credentials must have exactly one audience.")
    for name, value in (("issuer", issuer), ("subject", subject), ("audience", audiences[0])):
        _check(name, value)
    if not is_issuer_url(issuer):
        message = f"The issuer '{issuer}' is no https URL without user, query or fragment."
        raise problem.bad_request(f"Federated Identity Credential is invalid. {message}")
    return issuer, subject, (audiences[0],)


def _check(name: str, value: str) -> None:
    if not 0 < len(value) <= _LIMIT:
        message = f"The {name} has {len(value)} characters; up to {_LIMIT} are allowed."
        raise problem.bad_request(f"Federated Identity Credential is invalid. {message}")
    if not value.isprintable():
        raise problem.bad_request(f"Federated Identity Credential is invalid. The {name} has characters without shape.")
