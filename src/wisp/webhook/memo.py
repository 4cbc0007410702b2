"""Remembers what was decided about a pod, for the next one like it: pods of one ReplicaSet are alike to the byte.

They are but for `metadata.managedFields`, which has the second of its writing in it and no part in any decision; names
and uids are given after admission (k8s.io/apiserver, pkg/registry/generic/registry/store.go, `create`).

Pure. An answer holds for the same pod and namespace, and while the service account is the same object: a change of it,
however small, is a new one.

Reviews that are the same text but for the uid, as those of one second are, are not decoded at all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from wisp.admission.pod import Outline
from wisp.admission.review import AccountRef, Review, uid_of

LARGEST = 32 * 1024
"""Bytes of the largest review that is worth remembering."""
MOST = 2 * 1024 * 1024
"""Bytes of all pods and answers that are remembered."""

_ENTRY = 1024
"""Bytes that one entry takes besides, at most."""
_TEXTS = 64
"""How many reviews are known as text: 2 MB at the very most."""
_UID, _OTHER_UID = 36, "00000000-0000-4000-8000-000000000000"

Key: TypeAlias = tuple[bytes, str]
"""A pod without its managed fields, and its namespace."""


class Remembered(NamedTuple):
    """An answer but for the uid, and what it depends on."""

    runs_as: AccountRef | None
    """Of a pod that is being made."""
    account: Mapping[str, Any] | None
    result: str
    before: bytes
    after: bytes


_encode = msgspec.json.Encoder().encode


class Memo:
    """The last answers, of `MOST` bytes or half of them."""

    def __init__(self) -> None:
        self._young: dict[Key, Remembered] = {}
        self._old: dict[Key, Remembered] = {}
        self._young_bytes = 0
        self._before_uid = b""
        self._texts: dict[bytes, Key] = {}
        """By what follows the uid in reviews that begin with `_before_uid`."""

    def find_text(self, body: bytes) -> tuple[str, Remembered] | None:
        """Return the uid of a review that is known by its text, and what is remembered of it."""
        if len(body) > LARGEST:
            return None
        begin = len(self._before_uid)
        end = begin + _UID
        key = self._texts.get(body[end:])
        if key is None or not body.startswith(self._before_uid) or not _is_inert(uid := body[begin:end]):
            return None
        found = self._young.get(key) or self.find(key)
        return None if found is None else (uid.decode("ascii"), found)

    def find(self, key: Key) -> Remembered | None:
        """Return what is remembered of a pod."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.keep(key, found)
        return found

    def know_text(self, body: bytes, uid: str, key: Key) -> None:
        """Know a review by its text, if another uid in the same place is the uid of a review otherwise the same."""
        begin = body.find(_encode(uid)) + 1
        before, after = body[:begin], body[begin + _UID :]
        if begin == 0 or not _is_inert(uid.encode()) or uid_of(before + _OTHER + after) != _OTHER_UID:
            return
        if before != self._before_uid or len(self._texts) >= _TEXTS:
            self._before_uid, self._texts = before, {}
        self._texts[after] = key

    def keep(self, key: Key, remembered: Remembered) -> None:
        """Remember an answer; those not asked for since as many bytes of others came make room."""
        size = _ENTRY + len(key[0]) + len(remembered.before) + len(remembered.after)
        if size > MOST // 2:
            return
        if self._young_bytes + size > MOST // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = remembered
        self._young_bytes += size

    def clear(self) -> None:
        """Forget everything."""
        self._young.clear()
        self._old.clear()
        self._young_bytes = 0
        self._texts.clear()


_OTHER = _OTHER_UID.encode()


def _is_inert(uid: bytes) -> bool:
    """Say whether it is as long as a UUID, and letters, digits and hyphens: as JSON it is nothing but itself."""
    return len(uid) == _UID and uid.replace(b"-", b"").isalnum()


def key_of(review: Review) -> Key | None:
    """Return what the answer to a review is remembered by; None where nothing is decided about a pod.

    Where the bytes of the managed fields stand earlier in the pod, too, those are left out; two pods are still the
    same only if all else is: what is left lacks a value in one place, and only that value makes it JSON again.
    """
    if not isinstance(review.created, Outline):
        return None
    pod, written = bytes(review.object), bytes(review.created.managed_fields)
    return pod.replace(written, b"", 1) if written else pod, review.namespace


def split(answer: bytes, uid: str) -> tuple[bytes, bytes] | None:
    """Return an encoded answer before and after its uid; None where the uid cannot be told from the rest."""
    before, found, after = answer.partition(_encode(uid))
    return (before, after) if found and _encode(uid) not in after else None


def joined(remembered: Remembered, uid: str) -> bytes:
    """Return the answer for another review."""
    return remembered.before + _encode(uid) + remembered.after
