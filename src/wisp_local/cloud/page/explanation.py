"""Which federated credential an assertion was meant for, and where and how the two differ.

The nearest credential is the one with which Entra's own check gets furthest (issuer, then subject, then audience), so
that the explanation is about the same field as the AADSTS code; among those, the one that the fewest characters
separate.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from itertools import groupby
from urllib.parse import urlsplit

from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential
from wisp_local.cloud.page.tokens import Presented, character_name

_COMPARED = 100  # characters a side that `distance` compares one by one: a hostile client can send 16,000
_WORD = re.compile(r"\w+|\W", re.DOTALL)
_WORDS = 150  # words a side that `compare` compares one by one; SequenceMatcher is cubic at its worst
_SERVICE_ACCOUNT = ("system", "serviceaccount")
_API_SERVER = "https://kubernetes.default.svc"
_FEW = 3  # characters


class Field(Enum):
    """The fields that Entra compares, in its order."""

    ISSUER = "issuer"
    SUBJECT = "subject"
    AUDIENCE = "audience"


@dataclass(frozen=True)
class Piece:
    """A run of characters that is in both strings, or `differs`."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Difference:
    """Two strings in pieces; the pieces of a side, joined, are the string."""

    presented: tuple[Piece, ...]
    expected: tuple[Piece, ...]


@dataclass(frozen=True)
class ComparedField:
    """A field: where it differs, and how in words (empty when it matches)."""

    field: Field
    difference: Difference
    explanation: str

    @property
    def matches(self) -> bool:
        """Whether Entra would accept this field."""
        return not self.explanation


def nearest(presented: Presented, credentials: Iterable[FederatedCredential]) -> FederatedCredential | None:
    """Return the credential that was most likely meant, or None without credentials."""
    return min(
        credentials,
        key=lambda credential: (
            _mismatches(presented, credential),
            separation(presented, credential),
            credential.name,
        ),
        default=None,
    )


def is_match(presented: Presented, credential: FederatedCredential) -> bool:
    """Tell whether the credential trusts what was presented."""
    return not any(_mismatches(presented, credential))


def _mismatches(presented: Presented, credential: FederatedCredential) -> tuple[bool, bool, bool]:
    return (
        presented.issuer != credential.issuer,
        presented.subject != credential.subject,
        presented.audience not in credential.audiences,
    )


def separation(presented: Presented, credential: FederatedCredential) -> int:
    """Return how many characters are wrong in all three fields; 0 for a match."""
    return (
        distance(presented.issuer, credential.issuer)
        + distance(presented.subject, credential.subject)
        + min(
            (distance(presented.audience, audience) for audience in credential.audiences),
            default=len(presented.audience),
        )
    )


def distance(left: str, right: str) -> int:
    """Return Levenshtein's distance: the fewest insertions, deletions and replacements of a character.

    A common start and end are skipped first. Where more than `_COMPARED` characters remain, all count as different.
    """
    start, end = _common_ends(left, right)
    left, right = left[start : len(left) - end], right[start : len(right) - end]
    if max(len(left), len(right)) > _COMPARED:
        return max(len(left), len(right))
    row = list(range(len(right) + 1))
    for index, character in enumerate(left, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(right, 1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (character != other)),
            )
    return row[-1]


def _common_ends(left: str, right: str) -> tuple[int, int]:
    """Return the length of the common start, and of the common end of what follows it."""
    start = _common_start(left, right)
    return start, _common_start(left[start:][::-1], right[start:][::-1])


def _common_start(left: str, right: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def compare_with(presented: Presented, credential: FederatedCredential) -> tuple[ComparedField, ...]:
    """Compare issuer, subject and audience, in Entra's order."""
    audience = presented.audience
    if audience not in credential.audiences:
        audience = "".join(credential.audiences[:1])
    return tuple(
        ComparedField(field, compare(value, expected), explain(field, value, expected))
        for field, value, expected in (
            (Field.ISSUER, presented.issuer, credential.issuer),
            (Field.SUBJECT, presented.subject, credential.subject),
            (Field.AUDIENCE, presented.audience, audience),
        )
    )


_Run = tuple[str, str, bool]  # the text on either side, and whether it is the same


def compare(presented: str, expected: str) -> Difference:
    """Return where `presented` and `expected` differ.

    Words are compared first, and characters only within words that resemble each other: `default` and `kube-system`
    are one difference, not five letters that happen to be in both.
    """
    runs = list(_runs(presented, expected))
    return Difference(
        _pieces((left, same) for left, _, same in runs), _pieces((right, same) for _, right, same in runs)
    )


def _runs(left: str, right: str) -> Iterator[_Run]:
    words = _WORD.findall(left), _WORD.findall(right)
    if max(map(len, words)) > _WORDS:
        start, end = _common_ends(left, right)
        yield left[:start], right[:start], True
        yield left[start : len(left) - end], right[start : len(right) - end], False
        yield left[len(left) - end :], right[len(right) - end :], True
        return
    for one, other, same in _matched(*words):
        if same or not _resemble(one, other):
            yield one, other, same
        else:
            yield from _matched(one, other)


def _matched(left: Sequence[str], right: Sequence[str]) -> Iterator[_Run]:
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        yield "".join(left[i1:i2]), "".join(right[j1:j2]), tag == "equal"


def _resemble(left: str, right: str) -> bool:
    """Tell whether to compare characters: at most every other one differs, apart from case."""
    longest = max(len(left), len(right))
    return longest <= 4 * _WORDS and 2 * distance(left.lower(), right.lower()) <= longest


def _pieces(runs: Iterator[tuple[str, bool]]) -> tuple[Piece, ...]:
    """Join neighbours of the same kind, without empty ones."""
    groups = groupby(((text, same) for text, same in runs if text), key=lambda run: run[1])
    return tuple(Piece("".join(text for text, _ in group), not same) for same, group in groups)


def explain(field: Field, presented: str, expected: str) -> str:
    """Return the difference in words, without a full stop; empty when they are equal.

    The commonest mistakes come first, each recognised only when nothing else is wrong with the value.
    """
    if presented == expected:
        return ""
    if not presented:
        return "is missing"
    for reason in (_spelling, _REASONS[field], _few_characters):
        found = reason(presented, expected)
        if found:
            return found
    return "is completely different"


def _spelling(presented: str, expected: str) -> str:
    """Name what is easily overlooked: space, invisible characters, case, the slash at the end."""
    slash = (
        "has a trailing slash that the federated credential does not have"
        if len(presented) > len(expected)
        else "lacks the trailing slash that the federated credential has"
    )
    if presented.strip() == expected.strip():
        return "differs only in space at its start or end"
    if _printable(presented) == _printable(expected):
        hidden = next(character for character in presented + expected if not character.isprintable())
        return f"contains a character that cannot be seen: {character_name(hidden)}"
    if presented.casefold() == expected.casefold():
        return "differs only in case"
    if presented.rstrip("/") == expected.rstrip("/"):
        return slash
    if presented.casefold().rstrip("/") == expected.casefold().rstrip("/"):
        return f"differs in case, and {slash}"
    return ""


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def _issuer(presented: str, expected: str) -> str:
    names = ("scheme", "hostname", "port", "path")
    try:
        here, there = ([getattr(urlsplit(url), name) for name in names] for url in (presented, expected))
    except ValueError:  # an invalid port, an unclosed bracket
        return ""
    differing = [index for index in range(len(names)) if here[index] != there[index]]
    if len(differing) != 1:
        return ""
    (index,) = differing
    if names[index] == "path":
        return "path is another on the same host: another cluster's issuer, perhaps"
    name = "host" if names[index] == "hostname" else names[index]
    return f"{name} is {here[index]}, not {there[index]}" if here[1] else ""


def _subject(presented: str, expected: str) -> str:
    here, there = presented.split(":"), expected.split(":")
    if _is_service_account(here) and _is_service_account(there):
        return _service_account(here[2:], there[2:])
    if _is_service_account(here):
        return "is a Kubernetes service account; the federated credential is for something else"
    if _is_service_account(there):
        return "is not a Kubernetes service account; the federated credential is for one"
    differing = [(value, other) for value, other in zip(here, there, strict=False) if value != other]
    if len(here) == len(there) > 1 and len(differing) == 1:
        return f"has {differing[0][0]} where {differing[0][1]} is expected"
    return ""


def _is_service_account(words: list[str]) -> bool:
    return len(words) == 4 and tuple(words[:2]) == _SERVICE_ACCOUNT


def _service_account(here: list[str], there: list[str]) -> str:
    if here == there[::-1]:
        return "has namespace and service account the wrong way round"
    pairs = zip(("namespace", "service account"), here, there, strict=True)
    return " and ".join(f"{name} is {value}, not {other}" for name, value, other in pairs if value != other)


def _audience(presented: str, expected: str) -> str:
    if presented.startswith(_API_SERVER):
        return f"is the API server's: the token was not projected for {expected}"
    if expected == DEFAULT_AUDIENCE and presented.startswith("https://"):
        return f"is a resource: the assertion must be for {expected}, and the resource is requested in `scope`"
    return ""


def _few_characters(presented: str, expected: str) -> str:
    count = distance(presented, expected)
    if count <= _FEW and 2 * count < len(presented):
        return f"differs in {count} character{'s' if count > 1 else ''}"
    return ""


_REASONS: dict[Field, Callable[[str, str], str]] = {
    Field.ISSUER: _issuer,
    Field.SUBJECT: _subject,
    Field.AUDIENCE: _audience,
}
