"""The nearest federated credential, where it differs, and the difference in words."""

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential, match_credential
from wisp_local.cloud.entra.request import Assertion
from wisp_local.cloud.page.explanation import (
    Difference,
    Field,
    Piece,
    compare,
    distance,
    explain,
    is_match,
    nearest,
    separation,
)
from wisp_local.cloud.page.tokens import Presented

TEXT = st.text(alphabet=string.ascii_letters + ":/-. \u200b", max_size=40) | st.text(max_size=12)
ISSUER = "https://cloud.test/oidc/1/"
SA = "system:serviceaccount:"
SUBJECT = f"{SA}kube-system:wi-demo-sa"
CREDENTIAL = FederatedCredential("walk-through", ISSUER, SUBJECT, (DEFAULT_AUDIENCE,))
PRESENTED = Presented(ISSUER, SUBJECT, DEFAULT_AUDIENCE)


def _by_the_table(left: str, right: str) -> int:
    """Compute Levenshtein's distance as he defined it."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@given(TEXT, TEXT)
def test_distance_is_levenshteins(left: str, right: str) -> None:
    """Skipping the common start and end does not change the result."""
    assert distance(left, right) == _by_the_table(left, right)


def test_distance_of_long_values_is_bounded_work() -> None:
    """A hostile client cannot cause minutes of work: the rest of a long value counts as different."""
    assert distance("x" * 16_000 + "a", "x" * 16_000 + "b") == 1
    assert distance("a" * 16_000, "b" * 600) == 16_000


@given(TEXT, TEXT, TEXT)
def test_distance_is_a_metric(one: str, two: str, three: str) -> None:
    """It is zero only for equal strings, symmetric, and obeys the triangle inequality."""
    assert (distance(one, two) == 0) == (one == two)
    assert distance(one, two) == distance(two, one)
    assert distance(one, three) <= distance(one, two) + distance(two, three)


@given(TEXT | st.text(alphabet="a:", max_size=400), TEXT | st.text(alphabet="a:", max_size=400))
def test_pieces_joined_are_the_strings(left: str, right: str) -> None:
    """What does not differ is the same on both sides."""
    difference = compare(left, right)
    assert "".join(each.text for each in difference.presented) == left
    assert "".join(each.text for each in difference.expected) == right
    assert _same(difference.presented) == _same(difference.expected)
    assert all(each.text for each in difference.presented + difference.expected)
    assert any(each.differs for each in difference.presented + difference.expected) == (left != right)


def _same(side: tuple[Piece, ...]) -> str:
    return "".join(each.text for each in side if not each.differs)


def _written(difference: Difference) -> tuple[str, str]:
    sides = (difference.presented, difference.expected)
    one, two = ("".join(f"[{each.text}]" if each.differs else each.text for each in side) for side in sides)
    return one, two


DIFFERENCES = {
    "trailing slash": ("https://c.test/1", "https://c.test/1/", "https://c.test/1", "https://c.test/1[/]"),
    "case": ("a:WI-demo-sa", "a:wi-demo-sa", "a:[WI]-demo-sa", "a:[wi]-demo-sa"),
    "one letter": ("a:wi-demo-sb", "a:wi-demo-sa", "a:wi-demo-s[b]", "a:wi-demo-s[a]"),
    "namespace": ("s:default:x", "s:kube-system:x", "s:[default]:x", "s:[kube-system]:x"),
    "nothing in common": ("abc", "xyz", "[abc]", "[xyz]"),
    "missing": ("", "xyz", "", "[xyz]"),
    "equal": ("xyz", "xyz", "xyz", "xyz"),
}


@pytest.mark.parametrize("presented, expected, one, two", DIFFERENCES.values(), ids=DIFFERENCES)
def test_difference_compares_words_before_characters(presented: str, expected: str, one: str, two: str) -> None:
    """A word that resembles another is compared by its letters, any other is one difference."""
    assert _written(compare(presented, expected)) == (one, two)


def test_long_values_are_compared_by_their_ends() -> None:
    """A hostile client cannot cause minutes of work."""
    assert _written(compare("a:" * 200 + "x" + "b:" * 200, "a:" * 200 + "y" + "b:" * 200))[0].count("[x]") == 1


CREDENTIALS = st.builds(
    FederatedCredential, name=TEXT, issuer=TEXT, subject=TEXT, audiences=st.tuples(TEXT) | st.just((DEFAULT_AUDIENCE,))
)


@given(st.builds(Presented, TEXT, TEXT, TEXT), st.lists(CREDENTIALS, max_size=6))
def test_exact_match_is_the_nearest(presented: Presented, others: list[FederatedCredential]) -> None:
    """The nearest is always one of the given credentials."""
    exact = FederatedCredential("exact", presented.issuer, presented.subject, (presented.audience,))
    found = nearest(presented, [*others, exact])
    assert found is not None
    assert is_match(presented, found)
    assert separation(presented, found) == 0
    assert (nearest(presented, others) is None) == (not others)


@given(st.builds(Presented, TEXT, TEXT, TEXT), st.lists(CREDENTIALS, min_size=1, max_size=6))
def test_nearest_is_one_with_which_entra_got_furthest(
    presented: Presented, credentials: list[FederatedCredential]
) -> None:
    """The AADSTS code and the difference speak of the same field."""
    found = nearest(presented, credentials)
    assert found is not None
    asserted = Assertion("kid", presented.issuer, presented.subject, presented.audience, 0, 10)
    everything, alone = (match_credential(asserted, each, 5) for each in (credentials, [found]))
    assert everything == alone or _is_case(everything, alone)


def _is_case(everything: object, alone: object) -> bool:
    """Tell 7002138 from 700213: the case matters for any credential of the issuer."""
    codes = {getattr(everything, "code", 0), getattr(alone, "code", 0)}
    return codes == {7002138, 700213} or isinstance(everything, type(alone))


NEAREST = {
    "the issuer before the subject": (
        replace(CREDENTIAL, name="this", subject="system:serviceaccount:other:other"),
        replace(CREDENTIAL, name="other", issuer="https://cloud.test/oidc/1"),
    ),
    "fewer characters": (
        replace(CREDENTIAL, name="this", subject=SUBJECT.upper().lower() + "x"),
        replace(CREDENTIAL, name="other", subject="system:serviceaccount:default:other"),
    ),
    "the name when all else is equal": (
        replace(CREDENTIAL, name="a", subject=SUBJECT + "x"),
        replace(CREDENTIAL, name="b", subject=SUBJECT + "y"),
    ),
}


@pytest.mark.parametrize("this, other", NEAREST.values(), ids=NEAREST)
def test_nearest_does_not_depend_on_the_order(this: FederatedCredential, other: FederatedCredential) -> None:
    """Issuer, fewer characters, then the name decide."""
    assert nearest(PRESENTED, [this, other]) == nearest(PRESENTED, [other, this]) == this


def test_nearest_of_no_credentials_is_none() -> None:
    """An identity may trust nobody."""
    assert nearest(PRESENTED, []) is None


CASES = [
    (
        Field.ISSUER,
        "https://c.test/1",
        "https://c.test/1/",
        "lacks the trailing slash that the federated credential has",
    ),
    (
        Field.ISSUER,
        "https://c.test/1/",
        "https://c.test/1",
        "has a trailing slash that the federated credential does not have",
    ),
    (Field.ISSUER, "https://C.test/1", "https://c.test/1/", "differs in case, and lacks the trailing slash"),
    (Field.ISSUER, "http://c.test/1", "https://c.test/1", "scheme is http, not https"),
    (Field.ISSUER, "https://b.test/1", "https://c.test/1", "host is b.test, not c.test"),
    (Field.ISSUER, "https://c.test:1/", "https://c.test:2/", "port is 1, not 2"),
    (Field.ISSUER, "https://c.test/1", "https://c.test/2", "another cluster's issuer, perhaps"),
    (Field.ISSUER, "https://[c.test/1", "https://c.test/1", "differs in 1 character"),
    (Field.ISSUER, "https://b.test:x/1", "https://c.test/22222222", "is completely different"),
    (Field.ISSUER, "", "https://c.test/1", "is missing"),
    (Field.SUBJECT, f"{SA}ns:Name", f"{SA}ns:name", "differs only in case"),
    (Field.SUBJECT, f"{SA}ns:name ", f"{SA}ns:name", "differs only in space at its start or end"),
    (Field.SUBJECT, f"{SA}ns:na\u200bme", f"{SA}ns:name", "cannot be seen: U+200B zero width space"),
    (Field.SUBJECT, f"{SA}a:name", f"{SA}b:name", "namespace is a, not b"),
    (Field.SUBJECT, f"{SA}ns:a", f"{SA}ns:b", "service account is a, not b"),
    (Field.SUBJECT, f"{SA}a:b", f"{SA}c:d", "namespace is a, not c and service account is b, not d"),
    (Field.SUBJECT, f"{SA}a:b", f"{SA}b:a", "has namespace and service account the wrong way round"),
    (
        Field.SUBJECT,
        f"{SA}a:b",
        "repo:o/r:ref:main",
        "is a Kubernetes service account; the federated credential is for",
    ),
    (Field.SUBJECT, "repo:o/r:ref:main", f"{SA}a:b", "is not a Kubernetes service account"),
    (Field.SUBJECT, "repo:o/r:ref:main", "repo:o/r:ref:dev", "has main where dev is expected"),
    (Field.SUBJECT, "aaaaaaaaab", "aaaaaaaaac", "differs in 1 character"),
    (Field.SUBJECT, "x", "yyyy", "is completely different"),
    (Field.AUDIENCE, "https://kubernetes.default.svc", DEFAULT_AUDIENCE, "is the API server's"),
    (Field.AUDIENCE, "https://vault.azure.net", DEFAULT_AUDIENCE, "is a resource"),
    (Field.AUDIENCE, "api://AzureADTokenExchang", DEFAULT_AUDIENCE, "differs in 1 character"),
]


@pytest.mark.parametrize("field, presented, expected, words", CASES, ids=[words[:40] for *_, words in CASES])
def test_common_mistakes_are_named(field: Field, presented: str, expected: str, words: str) -> None:
    """The commonest mistakes are named as what they are."""
    assert words in explain(field, presented, expected)


@given(st.sampled_from(Field), st.text(max_size=30), st.text(max_size=30))
def test_explanation_is_empty_only_for_equal_values(field: Field, one: str, two: str) -> None:
    """No strings are an error, and only equal ones need no explanation."""
    assert bool(explain(field, one, two)) == (one != two)
