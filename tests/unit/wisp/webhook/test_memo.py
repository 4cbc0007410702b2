"""What is remembered of pods, and which pods are the same."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.admission.review import read
from wisp.webhook.memo import LARGEST, MOST, Key, Memo, Remembered, joined, key_of, split

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
    return key_of(read(body))


def written(pod: dict[str, Any], managed: object) -> dict[str, Any]:
    """Return the pod with other managed fields."""
    changed = copy.deepcopy(pod)
    changed["metadata"]["managedFields"] = managed
    return changed


def test_pods_of_one_replica_set_are_the_same_a_second_later() -> None:
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
def test_what_makes_a_difference(request_: dict[str, Any]) -> None:
    """Everything that a decision may depend on."""
    other = key(review(POD, **request_))
    assert other is not None
    assert other != key(review(POD))


@given(VALUES, VALUES, VALUES, VALUES)
def test_two_pods_are_the_same_only_if_all_but_their_managed_fields_is(
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
def test_what_is_not_remembered(body: bytes) -> None:
    """Nothing is decided about a pod."""
    assert key(body) is None


REMEMBERED = Remembered(None, None, "changed", b'{"uid":', b"}")


def keys_in(memo: Memo, bodies: list[bytes]) -> list[bytes]:
    """Return the reviews of which something is remembered."""
    return [body for body in bodies if memo.find(_key(body)) is not None]


def _key(body: bytes) -> Key:
    found = key(body)
    assert found is not None
    return found


def test_it_forgets_what_is_not_asked_for() -> None:
    """At most `MOST` bytes of pods and answers are kept, and those in use stay."""
    memo, size = Memo(), 20_000
    answer = Remembered(None, None, "changed", b"x" * size, b"")
    bodies = [review(POD, namespace=f"{number}") for number in range(3 * MOST // size)]
    for body in bodies:
        memo.keep(_key(body), answer)
        assert memo.find(_key(bodies[0])) is answer
    assert MOST // size // 3 <= len(keys_in(memo, bodies)) <= MOST // size
    memo.clear()
    assert keys_in(memo, bodies) == []


def test_small_answers_are_bounded_too() -> None:
    """What an entry takes besides its bytes is counted."""
    memo = Memo()
    bodies = [review({}, namespace=f"{number}") for number in range(2 * MOST // 1024)]
    for body in bodies:
        memo.keep(_key(body), REMEMBERED)
    assert len(keys_in(memo, bodies)) <= MOST // 1024


def test_an_answer_larger_than_the_memory_is_not_kept() -> None:
    """It would drive out everything else."""
    memo = Memo()
    memo.keep(_key(review(POD)), REMEMBERED)
    memo.keep(_key(review({})), Remembered(None, None, "changed", b"x" * MOST, b""))
    assert keys_in(memo, [review(POD), review({})]) == [review(POD)]


ONE, TWO = "6a9d0fb8-1f0a-4f2a-9c53-2b7c0e6b1a55", "0b1c4f0e-58b4-4bd6-9b3c-1b9a0b5c2e11"


def _knowing(body: bytes) -> Memo:
    """Return a memory that has seen the review twice: it knows it by its text."""
    memo, asked = Memo(), read(body)
    memo.keep(_key(body), REMEMBERED)
    memo.know_text(body, asked.uid, _key(body))
    return memo


def test_a_known_text_is_not_decoded() -> None:
    """Another uid in the same place, and all else the same: the answer is found by the text alone."""
    memo = _knowing(review(POD, ONE))
    assert memo.find_text(review(POD, ONE)) == (ONE, REMEMBERED)
    assert memo.find_text(review(POD, TWO)) == (TWO, REMEMBERED)
    memo.clear()
    assert memo.find_text(review(POD, ONE)) is None


def test_a_large_review_is_not_looked_up_by_its_text() -> None:
    """To hash it would take time for nothing."""
    assert Memo().find_text(review(POD | {"spec": "x" * LARGEST})) is None


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
def test_what_is_known_by_its_text_is_what_is_read_in_it(uid: str, more: dict[str, Any], first: dict[str, Any]) -> None:
    """A memory that knows a text finds what one finds that knows nothing, whatever the next review is."""
    known = json.dumps({**first, **json.loads(review(POD, ONE))}).encode()
    memo = _knowing(known)
    for body in (review(POD, uid, **more), json.dumps({**first, **json.loads(review(POD, uid, **more))}).encode()):
        found = memo.find_text(body)
        if found is not None:
            assert (found[0], _key(known)) == (read(body).uid, _key(body))


def test_a_uid_that_stands_twice_is_read_where_it_counts() -> None:
    """Of a member that is there twice JSON's readers take one; the text alone would not tell which."""
    doubled = review(POD, ONE).replace(b'"request":{', b'"request":{"uid":"%b",' % ONE.encode())
    memo = _knowing(doubled)
    other = doubled.replace(ONE.encode(), TWO.encode(), 1)
    found = memo.find_text(other)
    assert found is None or found[0] == read(other).uid


def test_texts_are_bounded() -> None:
    """However many differ in what is written of their managed fields, no more than a few are known."""
    memo = _knowing(review(POD, ONE))
    for second in range(1000):
        managed = [{"manager": "kube-controller-manager", "time": f"2026-11-23T20:00:00.{second:03}Z"}]
        body = review(written(POD, managed), ONE)
        memo.know_text(body, ONE, _key(body))
        assert memo.find_text(body) == (ONE, REMEMBERED)
    assert len(memo._texts) <= 64


@pytest.mark.parametrize("uid", ["7", 'a"b', ""])
def test_an_answer_is_put_together_with_another_uid(uid: str) -> None:
    """It is what would have been written."""
    parts = split(b'{"response":{"uid":"first","allowed":true}}', "first")
    assert parts is not None
    answer = joined(Remembered(None, None, "unchanged", *parts), uid)
    assert json.loads(answer) == {"response": {"uid": uid, "allowed": True}}


def test_an_answer_whose_uid_stands_elsewhere_too_is_not_taken_apart() -> None:
    """Then it is not remembered."""
    assert split(b'{"response":{"uid":"x","message":"x"}}', "x") is None
