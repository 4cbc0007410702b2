"""The process that makes and examines certificates: one question on standard input, one answer on standard output.

It is started for one question, some times a year. In the webhook's own process, loading cryptography for that would
take 10 MB for ever. Keys come and go by pipes only.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from wisp.base.isolation import forbid_core_dumps
from wisp.webhook.certificates import authority
from wisp.webhook.certificates.packing import kept_of, pack_facts, pack_kept


def _examine(asked: dict[str, Any]) -> dict[str, Any]:
    return pack_facts(authority.examine(kept_of(asked["kept"])))


def _make(asked: dict[str, Any]) -> dict[str, Any]:
    trusted = [bundle.encode("latin-1") for bundle in asked.pop("trusted")]
    return pack_kept(authority.make(asked.pop("names"), trusted=trusted, **asked))


def _announce(asked: dict[str, Any]) -> dict[str, Any]:
    return pack_kept(authority.announce(kept_of(asked.pop("kept")), **asked))


def _adopt(asked: dict[str, Any]) -> dict[str, Any]:
    trusted = [bundle.encode("latin-1") for bundle in asked.pop("trusted")]
    return pack_kept(authority.adopt(kept_of(asked.pop("kept")), trusted, **asked))


def _renew(asked: dict[str, Any]) -> dict[str, Any]:
    return pack_kept(authority.renew(kept_of(asked.pop("kept")), asked.pop("names"), **asked))


def _expiry(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"expires_at": authority.expiry(asked["chain"].encode("latin-1"))}
    except ValueError as error:
        return {"broken": str(error)}


_ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "examine": _examine,
    "make": _make,
    "adopt": _adopt,
    "announce": _announce,
    "renew": _renew,
    "expiry": _expiry,
}


def main() -> None:
    """Answer one question."""
    forbid_core_dumps()
    asked = json.load(sys.stdin)
    json.dump(_ANSWERS[asked.pop("question")](asked), sys.stdout)


if __name__ == "__main__":
    main()
