"""Read the listings of nft and iptables: which redirect is present. Pure."""

import json
import re
from ipaddress import AddressValueError, IPv4Address

from wisp.base.errors import SettingError
from wisp.redirect.plan import CHAIN, JUMP, Absent, Altered, Backend, InForce, Present, Rule
from wisp.redirect.script import PRIORITY

_EARLIER_PRIORITY = -100
"""Priority of the nft chain of earlier versions, which had no rule for the sidecar's own connections."""
_IPTABLES_METADATA = rf"-A {CHAIN} -d (?P<ip>[\d.]+)(?:/32)? -p tcp -m tcp --dport (?P<port>\d{{1,5}}) -m owner"
_IPTABLES_SIDECAR = re.compile(
    rf"{_IPTABLES_METADATA} --uid-owner (?P<uid>\d{{1,10}}) -j DNAT --to-destination (?P=ip)", re.ASCII
)
_IPTABLES_REDIRECT = re.compile(
    rf"{_IPTABLES_METADATA} ! --uid-owner (?P<uid>\d{{1,10}}) -j REDIRECT --to-ports (?P<to>\d{{1,5}})", re.ASCII
)
_REFUSALS = ("Operation not permitted", "Permission denied", "you must be root")


def is_refusal(error: str) -> bool:
    """Return whether a tool's error output means EPERM or EACCES (in the C locale)."""
    return any(text in error for text in _REFUSALS)


def iptables_variant(version: str) -> Backend:
    """Return which iptables printed this `--version`. Before 1.8 there was only the legacy one, without brackets."""
    return Backend.IPTABLES_NFT if "(nf_tables)" in version else Backend.IPTABLES_LEGACY


def parse_nft(listing: str) -> Present:
    """Read `nft -j list table ip wisp` (libnftables-json(5)). Anything but exactly our rules is Altered, no error."""
    try:
        objects = json.loads(listing)["nftables"]
        kinds = [(kind, body) for entry in objects for kind, body in entry.items() if kind != "metainfo"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Altered()
    match kinds:
        case [
            ("table", _),
            ("chain", {"type": "nat", "hook": "output", "prio": int(priority)}),
            *sidecar,
            ("rule", {"expr": expressions}),
        ]:
            rule = _nft_redirect(expressions)
        case _:
            return Altered()
    if rule and priority == PRIORITY and len(sidecar) == 1 and _is_for_sidecar(sidecar[0], rule):
        return InForce(rule)
    return InForce(rule, outdated=True) if rule and priority == _EARLIER_PRIORITY and not sidecar else Altered()


def _nft_redirect(expressions: object) -> Rule | None:
    match expressions:
        case [*matches, {"redirect": {"port": int(to)}}]:
            found = _nft_metadata(matches, "!=")
            return _rule(*found, to) if found else None
        case _:
            return None


def _is_for_sidecar(entry: object, rule: Rule) -> bool:
    """Return whether the entry maps the sidecar's own connections onto themselves, so that later chains skip them."""
    match entry:
        case ("rule", {"expr": [*matches, {"dnat": {"addr": str(address), **rest}}]}):
            expected = (str(rule.metadata_ip), rule.metadata_port, rule.proxy_uid)
            return (
                rest in ({}, {"family": "ip"}) and address == expected[0] and _nft_metadata(matches, "==") == expected
            )
        case _:
            return False


def _nft_metadata(matches: list[object], uid_operator: str) -> tuple[str, int, int] | None:
    """Return the address, port and uid that a rule matches."""
    match matches:
        case [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": str(ip)}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": int(port)}},
            {"match": {"op": operator, "left": {"meta": {"key": "skuid"}}, "right": int(uid)}},
        ] if operator == uid_operator:
            return ip, port, uid
        case _:
            return None


def parse_iptables(listing: str) -> Present:
    """Read `iptables-save -t nat` of either iptables; anything but exactly our rules is Altered, never an error."""
    lines = listing.splitlines()
    if not any(line.startswith(f":{CHAIN} ") for line in lines):
        return Absent()
    jumps = lines.count(JUMP)
    ours = [line for line in lines if line.startswith(f"-A {CHAIN} ")]
    *sidecar, redirect = ours or [""]
    found = _IPTABLES_REDIRECT.fullmatch(redirect)
    rule = _rule(found["ip"], int(found["port"]), int(found["uid"]), int(found["to"])) if found else None
    if rule is None or jumps != 1 or not _are_for_sidecar(sidecar, rule):
        return Altered(jumps)
    return InForce(rule, jumps, outdated=not sidecar)


def _are_for_sidecar(lines: list[str], rule: Rule) -> bool:
    """Return whether there is one rule for the sidecar's own connections, or none as in an earlier version."""
    if not lines:
        return True
    found = _IPTABLES_SIDECAR.fullmatch(lines[0])
    expected = (str(rule.metadata_ip), rule.metadata_port, rule.proxy_uid)
    return len(lines) == 1 and found is not None and (found["ip"], int(found["port"]), int(found["uid"])) == expected


def _rule(ip: str, port: int, uid: int, to: int) -> Rule | None:
    try:
        return Rule(proxy_port=to, proxy_uid=uid, metadata_ip=IPv4Address(ip), metadata_port=port)
    except (SettingError, AddressValueError):
        return None
