"""Say in a few words how what was presented differs from what a federated credential wants; knows only the strings.

The commonest mistakes come first, each recognised only when nothing else is wrong with the value.
"""

from collections.abc import Callable
from enum import Enum
from urllib.parse import SplitResult, urlsplit

from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE
from wisp_local.cloud.pages.distance import distance
from wisp_local.cloud.pages.readable import named

_SERVICE_ACCOUNT = ("system", "serviceaccount")
_API_SERVER = "https://kubernetes.default.svc"
_FEW = 3  # characters


class Field(Enum):
    """What Entra compares, in its order."""

    ISSUER = "issuer"
    SUBJECT = "subject"
    AUDIENCE = "audience"


def explain(field: Field, presented: str, expected: str) -> str:
    """Return the difference in words, without a full stop; empty when there is none."""
    if presented == expected:
        return ""
    if not presented:
        return "is missing"
    for reason in (_spelling, _OF_FIELD[field], _few_characters):
        found = reason(presented, expected)
        if found:
            return found
    return "is another one altogether"


def _spelling(presented: str, expected: str) -> str:
    """Name what eyes pass over: space, invisible characters, case, the slash at the end."""
    if presented.strip() == expected.strip():
        return "differs only in space at its start or end"
    if _printable(presented) == _printable(expected):
        unseen = next(each for each in presented + expected if not each.isprintable())
        return f"contains a character that cannot be seen: {named(unseen)}"
    if presented.casefold() == expected.casefold():
        return "differs only in case"
    if presented.rstrip("/") == expected.rstrip("/"):
        return _slash(presented, expected)
    if presented.casefold().rstrip("/") == expected.casefold().rstrip("/"):
        return f"differs in case, and {_slash(presented, expected)}"
    return ""


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())


def _slash(presented: str, expected: str) -> str:
    if len(presented) > len(expected):
        return "has a trailing slash that the federated credential has not"
    return "lacks the trailing slash that the federated credential has"


def _issuer(presented: str, expected: str) -> str:
    try:
        here, there = urlsplit(presented), urlsplit(expected)
        return _part_of_url(here, there)
    except ValueError:  # a port that is no number, a bracket that is not closed
        return ""


def _part_of_url(here: SplitResult, there: SplitResult) -> str:
    differing = [name for name in ("scheme", "hostname", "port", "path") if getattr(here, name) != getattr(there, name)]
    if "path" in differing and len(differing) == 1:
        return "path is another on the same host: another cluster's issuer, perhaps"
    if len(differing) == 1 and here.hostname:
        name = {"hostname": "host"}.get(differing[0], differing[0])
        return f"{name} is {getattr(here, differing[0])}, not {getattr(there, differing[0])}"
    return ""


def _subject(presented: str, expected: str) -> str:
    here, there = presented.split(":"), expected.split(":")
    if _is_service_account(here) and _is_service_account(there):
        return _service_account(here[2:], there[2:])
    if _is_service_account(here):
        return "is a Kubernetes service account; the federated credential is for something else"
    if _is_service_account(there):
        return "is no Kubernetes service account; the federated credential is for one"
    return _parts(here, there)


def _is_service_account(parts: list[str]) -> bool:
    return len(parts) == 4 and tuple(parts[:2]) == _SERVICE_ACCOUNT


def _service_account(here: list[str], there: list[str]) -> str:
    if here == there[::-1]:
        return "has namespace and service account the wrong way round"
    pairs = zip(("namespace", "service account"), here, there, strict=True)
    return " and ".join(f"{name} is {given}, not {wanted}" for name, given, wanted in pairs if given != wanted)


def _parts(here: list[str], there: list[str]) -> str:
    differing = [(a, b) for a, b in zip(here, there, strict=False) if a != b]
    if len(here) == len(there) > 1 and len(differing) == 1:
        return f"has {differing[0][0]} where {differing[0][1]} is expected"
    return ""


def _audience(presented: str, expected: str) -> str:
    if presented.startswith(_API_SERVER):
        return f"is the API server's: the token was not projected for {expected}"
    if expected == DEFAULT_AUDIENCE and presented.startswith("https://"):
        return f"is a resource: the assertion must be for {expected}, and the resource is asked for in `scope`"
    return ""


def _few_characters(presented: str, expected: str) -> str:
    apart = distance(presented, expected)
    if apart <= _FEW and 2 * apart < len(presented):
        return f"differs in {apart} character{'s' if apart > 1 else ''}"
    return ""


_OF_FIELD: dict[Field, Callable[[str, str], str]] = {
    Field.ISSUER: _issuer,
    Field.SUBJECT: _subject,
    Field.AUDIENCE: _audience,
}
