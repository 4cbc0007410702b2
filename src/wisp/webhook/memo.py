"""Remembers what was decided about a pod, for the next one like it: pods of one ReplicaSet are alike to the byte.

They are but for `metadata.managedFields`, which has the second of its writing in it and no part in any decision; names
and uids are given after admission (k8s.io/apiserver, pkg/registry/generic/registry/store.go, `create`).

Pure. An answer holds for the same pod, namespace and operation, and while the service account is the same object: a
change of it, however small, is a new one.

Reviews that are the same text but for the uid, as those of one second are, need not even be taken apart.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from wisp.admission.review import AccountRef

MOST = 256
_LARGEST = 32 * 1024
"""Bytes of the largest pod worth remembering: all together take 8 MB at the very most, and one or two as a rule."""

_TEXTS = 64
"""How many reviews are known as text: 2 MB at the very most."""
_UID, _OTHER_UID = 36, "00000000-0000-4000-8000-000000000000"

Key: TypeAlias = tuple[bytes, str, str, str]


class _Asked(msgspec.Struct, gc=False):
    uid: str
    kind: dict[str, str]
    object: msgspec.Raw
    namespace: str = ""
    operation: str = ""
    subResource: str = ""  # noqa: N815 -- the API's name


class Envelope(msgspec.Struct, gc=False):
    """A review of which the pod has not been read."""

    kind: str
    apiVersion: str  # noqa: N815 -- the API's name
    request: _Asked


class _Metadata(msgspec.Struct, gc=False):
    managedFields: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 -- the API's name


class _Pod(msgspec.Struct, gc=False):
    metadata: _Metadata


class Remembered(NamedTuple):
    """An answer but for the uid, and what it depends on."""

    runs_as: AccountRef | None
    """Of a pod that is being made."""
    account: Mapping[str, Any] | None
    result: str
    before: bytes
    after: bytes


_decode = msgspec.json.Decoder(Envelope).decode
_decode_pod = msgspec.json.Decoder(_Pod).decode
_encode = msgspec.json.Encoder().encode


class Memo:
    """The last `MOST` answers, or half of them."""

    def __init__(self) -> None:
        self._young: dict[Key, Remembered] = {}
        self._old: dict[Key, Remembered] = {}
        self._before_uid = b""
        self._texts: dict[bytes, Key] = {}
        """By what follows the uid in reviews that begin with `_before_uid`."""

    def find(self, body: bytes) -> tuple[str, Key, Remembered | None] | None:
        """Return the uid and the key of a review, and what is remembered of it; None where it is none to remember."""
        if len(body) > _LARGEST:
            return None
        begin = len(self._before_uid)
        end = begin + _UID
        key = self._texts.get(body[end:])
        if key is not None and body.startswith(self._before_uid) and _is_inert(uid := body[begin:end]):
            return uid.decode("ascii"), key, self._remembered(key)
        return self._take_apart(body)

    def _take_apart(self, body: bytes) -> tuple[str, Key, Remembered | None] | None:
        try:
            envelope = _decode(body)
            pod = _lasting(bytes(envelope.request.object))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # whatever is wrong with it, the whole review says so better
        asked = envelope.request
        if asked.kind != _POD or envelope.kind != "AdmissionReview" or envelope.apiVersion != "admission.k8s.io/v1":
            return None
        key = (pod, asked.namespace, asked.operation, asked.subResource)
        found = self._remembered(key)
        if found is not None:
            self._know(body, asked.uid, key)
        return asked.uid, key, found

    def _remembered(self, key: Key) -> Remembered | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.keep(key, found)
        return found

    def _know(self, body: bytes, uid: str, key: Key) -> None:
        """Know the review by its text, if another uid in the same place is the uid of a review otherwise the same."""
        begin = body.find(_encode(uid)) + 1
        before, after = body[:begin], body[begin + _UID :]
        if begin == 0 or not _is_inert(uid.encode()) or _uid_of(before + _OTHER_UID.encode() + after) != _OTHER_UID:
            return
        if before != self._before_uid or len(self._texts) >= _TEXTS:
            self._before_uid, self._texts = before, {}
        self._texts[after] = key

    def keep(self, key: Key, remembered: Remembered) -> None:
        """Remember an answer; those not asked for since as many others were make room."""
        if len(self._young) >= MOST // 2:
            self._old, self._young = self._young, {}
        self._young[key] = remembered

    def clear(self) -> None:
        """Forget everything."""
        self._young.clear()
        self._old.clear()
        self._texts.clear()


def _is_inert(uid: bytes) -> bool:
    """Say whether it is as long as a UUID, and letters, digits and hyphens: as JSON it is nothing but itself."""
    return len(uid) == _UID and uid.replace(b"-", b"").isalnum()


def _uid_of(body: bytes) -> str:
    return _decode(body).request.uid


def _lasting(pod: bytes) -> bytes:
    """Return the pod without its managed fields.

    Where the same bytes stand earlier, too, those go; two pods are still the same only if all else is: what is left
    lacks a value in one place, and only that value makes it JSON again.
    """
    written = bytes(_decode_pod(pod).metadata.managedFields)
    return pod.replace(written, b"", 1) if written else pod


_POD = {"group": "", "version": "v1", "kind": "Pod"}


def split(document: dict[str, Any], uid: str) -> tuple[bytes, bytes] | None:
    """Return an encoded answer before and after its uid; None where the uid cannot be told from the rest."""
    before, found, after = _encode(document).partition(_encode(uid))
    return (before, after) if found and _encode(uid) not in after else None


def joined(remembered: Remembered, uid: str) -> bytes:
    """Return the answer for another review."""
    return remembered.before + _encode(uid) + remembered.after
