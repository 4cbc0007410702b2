"""What is remembered of pods, and which pods are the same."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.admission.review import read_review
from wisp.webhook.review_cache import CACHE_LIMIT, REVIEW_LIMIT, CachedAnswer, Key, ReviewCache, key_of, split

POD = {
    "metadata": {
        "generateName": "app-6c54bd5869-",
        "labels": {"azure.workload.identity/use": "true"},
        "managedFields": [{"manager": "kube-controller-manager", "time": "2026-11-23T20:00:00Z"}],
    },
    "spec": {"containers": [{"name": "app", "args": []}]},
}
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, "", "[]", "true", [], [[]], {}, {"a": []}, {"managedFields": []}, '"a":[]']
)


def review(pod: object, uid: str = "1", **request: object) -> bytes:
    """Write the review of a pod's creation."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    asked = {"uid": uid, "kind": kind, "namespace": "app", "operation": "CREATE", "object": pod} | request
    document = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked}
    return json.dumps(document, separators=(",", ":")).encode()


def key(body: bytes) -> Key | None:
    """Return what the review is remembered by."""
    return key_of(read_review(body))


def written(pod: dict[str, Any], managed: object) -> dict[str, Any]:
    """Return the pod with other managed fields."""
    changed = copy.deepcopy(pod)
    changed["metadata"]["managedFields"] = managed
    return changed


def test_pods_of_one_replica_set_have_the_same_key_a_second_later() -> None:
    """The second of writing and the review's uid make no difference."""
    later = written(POD, [{"manager": "kube-controller-manager", "time": "2026-11-23T20:00:01Z"}])
    assert key(review(POD)) == key(review(later, uid="2")) is not None


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"namespace": "other"}, id="namespace"),
        pytest.param({"object": POD | {"spec": {}}}, id="pod"),
        pytest.param({"object": POD | {"metadata": {"name": "app"}}}, id="name"),
    ],
)
def test_different_namespace_or_pod_has_a_different_key(request_: dict[str, Any]) -> None:
    """Everything that a decision may depend on."""
    other = key(review(POD, **request_))
    assert other is not None
    assert other != key(review(POD))


@given(VALUES, VALUES, VALUES, VALUES)
def test_key_is_the_same_only_if_all_but_the_managed_fields_is(
    spec: object, other: object, managed: object, others: object
) -> None:
    """Whatever those are, and wherever the same bytes stand besides."""
    one = written(POD | {"b": spec, "a": managed}, managed)
    two = written(POD | {"b": other, "a": managed}, others)
    assert key(review(one)) != key(review(two)) or json.dumps(spec) == json.dumps(other)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(review(POD, operation="UPDATE"), id="an update"),
        pytest.param(review(POD, subResource="ephemeralcontainers"), id="a subresource"),
        pytest.param(review({"metadata": []}), id="a list for its metadata"),
    ],
)
def test_review_that_creates_no_pod_has_no_key(body: bytes) -> None:
    """Nothing is decided about a pod."""
    assert key(body) is None


ANSWER = CachedAnswer(None, None, "changed", b'{"uid":', b"}")


def keys_in(cache: ReviewCache, bodies: list[bytes]) -> list[bytes]:
    """Return the reviews of which something is remembered."""
    return [body for body in bodies if cache.find(_key(body)) is not None]


def _key(body: bytes) -> Key:
    found = key(body)
    assert found is not None
    return found


def test_answers_that_are_not_used_are_dropped() -> None:
    """At most `CACHE_LIMIT` bytes of pods and answers are kept, and those in use stay."""
    cache, size = ReviewCache(), 20_000
    answer = CachedAnswer(None, None, "changed", b"x" * size, b"")
    bodies = [review(POD, namespace=f"{number}") for number in range(3 * CACHE_LIMIT // size)]
    for body in bodies:
        cache.add(_key(body), answer)
        assert cache.find(_key(bodies[0])) is answer
    assert CACHE_LIMIT // size // 3 <= len(keys_in(cache, bodies)) <= CACHE_LIMIT // size
    cache.clear()
    assert keys_in(cache, bodies) == []


def test_number_of_small_answers_is_bounded() -> None:
    """What an entry takes besides its bytes is counted."""
    cache = ReviewCache()
    bodies = [review({}, namespace=f"{number}") for number in range(2 * CACHE_LIMIT // 1024)]
    for body in bodies:
        cache.add(_key(body), ANSWER)
    assert len(keys_in(cache, bodies)) <= CACHE_LIMIT // 1024


def test_answer_larger_than_the_cache_is_not_cached() -> None:
    """It would drive out everything else."""
    cache = ReviewCache()
    cache.add(_key(review(POD)), ANSWER)
    cache.add(_key(review({})), CachedAnswer(None, None, "changed", b"x" * CACHE_LIMIT, b""))
    assert keys_in(cache, [review(POD), review({})]) == [review(POD)]


ONE, TWO = "6a9d0fb8-1f0a-4f2a-9c53-2b7c0e6b1a55", "0b1c4f0e-58b4-4bd6-9b3c-1b9a0b5c2e11"


def _knowing(body: bytes) -> ReviewCache:
    """Return a memory that has seen the review twice: it knows it by its text."""
    cache, asked = ReviewCache(), read_review(body)
    cache.add(_key(body), ANSWER)
    cache.add_text(body, asked.uid, _key(body))
    return cache


def test_known_text_is_found_with_another_uid() -> None:
    """Another uid in the same place, and all else the same: the answer is found by the text alone."""
    cache = _knowing(review(POD, ONE))
    assert cache.find_text(review(POD, ONE)) == (ONE, ANSWER)
    assert cache.find_text(review(POD, TWO)) == (TWO, ANSWER)
    cache.clear()
    assert cache.find_text(review(POD, ONE)) is None


def test_large_review_is_not_looked_up_by_its_text() -> None:
    """To hash it would take time for nothing."""
    assert ReviewCache().find_text(review(POD | {"spec": "x" * REVIEW_LIMIT})) is None


@pytest.mark.parametrize("uid", [TWO, ONE.upper(), "7", 'a"b', "\\" * 36, "\u00e4" * 36, "\n" * 36, "x" * 36, '"' * 36])
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="the same"),
        pytest.param({"namespace": "other"}, id="another namespace"),
        pytest.param({"object": POD | {"spec": {}}}, id="another pod"),
        pytest.param({"object": POD | {"uid": ONE}}, id="the first uid in the pod"),
        pytest.param({"userInfo": {"uid": ONE}}, id="the first uid behind"),
    ],
)
@pytest.mark.parametrize("first", [{}, {"aaa": ONE}, {"zzz": ONE}], ids=["plain", "twice, before", "twice, behind"])
def test_review_found_by_its_text_is_the_one_read(uid: str, more: dict[str, Any], first: dict[str, Any]) -> None:
    """A memory that knows a text finds what one finds that knows nothing, whatever the next review is."""
    known = json.dumps({**first, **json.loads(review(POD, ONE))}).encode()
    cache = _knowing(known)
    for body in (review(POD, uid, **more), json.dumps({**first, **json.loads(review(POD, uid, **more))}).encode()):
        found = cache.find_text(body)
        if found is not None:
            assert (found[0], _key(known)) == (read_review(body).uid, _key(body))


def test_duplicate_uid_is_read_where_it_counts() -> None:
    """Of a member that is there twice JSON's readers take one; the text alone would not tell which."""
    doubled = review(POD, ONE).replace(b'"request":{', b'"request":{"uid":"%b",' % ONE.encode())
    cache = _knowing(doubled)
    other = doubled.replace(ONE.encode(), TWO.encode(), 1)
    found = cache.find_text(other)
    assert found is None or found[0] == read_review(other).uid


def test_number_of_texts_is_bounded() -> None:
    """However many differ in what is written of their managed fields, no more than a few are known."""
    cache = _knowing(review(POD, ONE))
    for second in range(1000):
        managed = [{"manager": "kube-controller-manager", "time": f"2026-11-23T20:00:00.{second:03}Z"}]
        body = review(written(POD, managed), ONE)
        cache.add_text(body, ONE, _key(body))
        assert cache.find_text(body) == (ONE, ANSWER)
    assert len(cache._texts) <= 64


@pytest.mark.parametrize("uid", ["7", 'a"b', ""])
def test_cached_answer_gets_another_uid(uid: str) -> None:
    """It is what would have been written."""
    parts = split(b'{"response":{"uid":"first","allowed":true}}', "first")
    assert parts is not None
    answer = CachedAnswer(None, None, "unchanged", *parts).with_uid(uid)
    assert json.loads(answer) == {"response": {"uid": uid, "allowed": True}}


def test_answer_with_its_uid_twice_is_not_cached() -> None:
    """Then it is not remembered."""
    assert split(b'{"response":{"uid":"x","message":"x"}}', "x") is None
