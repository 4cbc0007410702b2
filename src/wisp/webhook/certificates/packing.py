"""Writes what is kept and what is known of it as JSON values, and reads them. Knows neither process nor pipe."""

from collections.abc import Mapping
from typing import Any

from wisp.base.secret import Secret
from wisp.webhook.certificates.certificate import Authority, Broken, Facts, Kept, Leaf


def pack_kept(kept: Kept) -> dict[str, Any]:
    """Return `kept` as JSON values, keys included: for a pipe between our own processes only."""
    return {
        "bundle": kept.bundle.decode("latin-1"),  # whoever wrote the Secret may have written anything
        "authority_key": kept.authority_key.reveal(),
        "chain": kept.chain.decode("latin-1"),
        "key": kept.key.reveal(),
    }


def kept_of(packed: Mapping[str, Any]) -> Kept:
    """Read what `pack_kept` wrote."""
    return Kept(
        packed["bundle"].encode("latin-1"),
        Secret(packed["authority_key"]),
        packed["chain"].encode("latin-1"),
        Secret(packed["key"]),
    )


def pack_facts(facts: Facts | Broken) -> dict[str, Any]:
    """Return `facts` as JSON values."""
    if isinstance(facts, Broken):
        return {"broken": facts.reason}
    leaf = facts.leaf
    return {
        "authorities": [[each.pem.decode("ascii"), each.issued_at, each.expires_at] for each in facts.authorities],
        "leaf": [leaf.issuer.decode("ascii"), sorted(leaf.names), leaf.issued_at, leaf.expires_at],
    }


def facts_of(packed: Mapping[str, Any]) -> Facts | Broken:
    """Read what `pack_facts` wrote."""
    if "broken" in packed:
        return Broken(packed["broken"])
    issuer, names, issued_at, expires_at = packed["leaf"]
    return Facts(
        tuple(Authority(pem.encode("ascii"), begins, ends) for pem, begins, ends in packed["authorities"]),
        Leaf(issuer.encode("ascii"), frozenset(names), issued_at, expires_at),
    )
