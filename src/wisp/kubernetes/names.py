"""The names that API servers accept, so that a name can be part of a path or a command without quotes. Pure.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ (RFC 1123)
"""

import re

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAMESPACE = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")
_SERVICE_ACCOUNT = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


def is_namespace(text: str) -> bool:
    """Return whether `text` can be the name of a namespace."""
    return _NAMESPACE.fullmatch(text) is not None


def is_service_account(text: str) -> bool:
    """Return whether `text` can be the name of a service account."""
    return _SERVICE_ACCOUNT.fullmatch(text) is not None
