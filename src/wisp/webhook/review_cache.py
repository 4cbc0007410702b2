"""Cache answers to reviews, because the pods of a ReplicaSet are equal to the byte when they are admitted.

They differ only in `metadata.managedFields`, which contains the second of the write and plays no part in a decision;
names and uids are assigned after admission (k8s.io/apiserver, pkg/registry/generic/registry/store.go, `create`).

Pure. A cached answer is valid for the same pod and namespace while the service account is the same object: any change
of the account makes a new one. Reviews whose text differs only in the uid, as those of one second do, are not decoded.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from wisp.admission.pod import Outline
from wisp.admission.review import AccountRef, Review, read_uid

REVIEW_LIMIT = 32 * 1024
"""Bytes of the largest review that is cached."""
CACHE_LIMIT = 2 * 1024 * 1024
"""Bytes of all cached pods and answers."""

_ENTRY_OVERHEAD = 1024
"""Bytes that one entry takes besides its pod and answer, at most."""
_TEXT_LIMIT = 64
"""Reviews that are known by their text: 2 MB at most."""
_UID_LENGTH = 36
_OTHER_UID = "00000000-0000-4000-8000-000000000000"

Key: TypeAlias = tuple[bytes, str]
"""A pod without its managed fields, and its namespace."""

_encode = msgspec.json.Encoder().encode


class CachedAnswer(NamedTuple):
    """An encoded answer before and after its uid, and what it depends on."""

    runs_as: AccountRef | None
    """The service account of a pod that is being created."""
    account: Mapping[str, Any] | None
    result: str
    before: bytes
    after: bytes

    def with_uid(self, uid: str) -> bytes:
        """Return the answer to another review."""
        return self.before + _encode(uid) + self.after


class ReviewCache:
    """Two generations of answers, each of half of `CACHE_LIMIT`: an answer that is used moves to the younger one."""

    def __init__(self) -> None:
        self._young: dict[Key, CachedAnswer] = {}
        self._old: dict[Key, CachedAnswer] = {}
        self._young_bytes = 0
        self._before_uid = b""
        self._texts: dict[bytes, Key] = {}
        """By the text after the uid, of reviews that begin with `_before_uid`."""

    def find_text(self, body: bytes) -> tuple[str, CachedAnswer] | None:
        """Return the uid and the cached answer of a review whose text is known except for the uid."""
        if len(body) > REVIEW_LIMIT:
            return None
        start = len(self._before_uid)
        end = start + _UID_LENGTH
        key = self._texts.get(body[end:])
        if key is None or not body.startswith(self._before_uid) or not _is_plain(uid := body[start:end]):
            return None
        found = self._young.get(key) or self.find(key)
        return None if found is None else (uid.decode("ascii"), found)

    def find(self, key: Key) -> CachedAnswer | None:
        """Return the cached answer for a pod."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.add(key, found)
        return found

    def add_text(self, body: bytes, uid: str, key: Key) -> None:
        """Remember a review by its text, if another uid in the same place would be read as the uid of the review."""
        start = body.find(_encode(uid)) + 1
        before, after = body[:start], body[start + _UID_LENGTH :]
        if start == 0 or not _is_plain(uid.encode()) or read_uid(before + _OTHER_UID.encode() + after) != _OTHER_UID:
            return
        if before != self._before_uid or len(self._texts) >= _TEXT_LIMIT:
            self._before_uid, self._texts = before, {}
        self._texts[after] = key

    def add(self, key: Key, answer: CachedAnswer) -> None:
        """Cache an answer. It is dropped when half of `CACHE_LIMIT` was added since it was last used."""
        size = _ENTRY_OVERHEAD + len(key[0]) + len(answer.before) + len(answer.after)
        if size > CACHE_LIMIT // 2:
            return
        if self._young_bytes + size > CACHE_LIMIT // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = answer
        self._young_bytes += size

    def clear(self) -> None:
        """Drop all entries."""
        self._young.clear()
        self._old.clear()
        self._young_bytes = 0
        self._texts.clear()


def _is_plain(uid: bytes) -> bool:
    """Return whether a uid has a UUID's length and only characters that JSON does not escape."""
    return len(uid) == _UID_LENGTH and uid.replace(b"-", b"").isalnum()


def key_of(review: Review) -> Key | None:
    """Return the key of a review; None if it does not create a pod.

    If the bytes of the managed fields also occur earlier in the pod, that occurrence is removed instead. Two pods still
    have the same key only if they are equal: the rest lacks one value in one place, and only that value completes it.
    """
    if not isinstance(review.created, Outline):
        return None
    pod, managed_fields = bytes(review.object), bytes(review.created.managed_fields)
    return pod.replace(managed_fields, b"", 1) if managed_fields else pod, review.namespace


def split(answer: bytes, uid: str) -> tuple[bytes, bytes] | None:
    """Return an encoded answer before and after its uid; None if the uid occurs more than once."""
    before, found, after = answer.partition(_encode(uid))
    return (before, after) if found and _encode(uid) not in after else None
