"""What a tool's listing says is present; knows the listings' formats and never runs a tool."""

import json
import re
from ipaddress import AddressValueError, IPv4Address

from wisp.errors import SettingError
from wisp.redirect.plan import CHAIN, JUMP, PRIORITY
from wisp.redirect.rule import Absent, Altered, Backend, InForce, Present, Rule

_IPTABLES_RULE = re.compile(
    rf"-A {CHAIN} "
    r"-d (?P<ip>[\d.]+)(?:/32)? -p tcp -m tcp --dport (?P<port>\d{1,5}) "
    r"-m owner ! --uid-owner (?P<uid>\d{1,10}) -j REDIRECT --to-ports (?P<to>\d{1,5})",
    re.ASCII,
)
_REFUSALS = ("Operation not permitted", "Permission denied", "you must be root")


def is_refusal(complaint: str) -> bool:
    """Tell whether a tool's standard error says EPERM or EACCES (in the C locale)."""
    return any(text in complaint for text in _REFUSALS)


def iptables_variant(version: str) -> Backend:
    """Tell which iptables answered `--version`; before 1.8 there was only the legacy one and nothing in brackets."""
    return Backend.IPTABLES_NFT if "(nf_tables)" in version else Backend.IPTABLES_LEGACY


def parse_nft(listing: str) -> Present:
    """Read `nft -j list table ip wisp` (libnftables-json(5)); what is not exactly ours is Altered, never an error."""
    try:
        objects = json.loads(listing)["nftables"]
        kinds = [(kind, body) for entry in objects for kind, body in entry.items() if kind != "metainfo"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Altered()
    match kinds:
        case [
            ("table", _),
            ("chain", {"type": "nat", "hook": "output", "prio": int(priority)}),
            ("rule", {"expr": expressions}),
        ] if priority == PRIORITY:
            rule = _nft_rule(expressions)
            return InForce(rule) if rule else Altered()
        case _:
            return Altered()


def _nft_rule(expressions: object) -> Rule | None:
    match expressions:
        case [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": str(ip)}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": int(port)}},
            {"match": {"op": "!=", "left": {"meta": {"key": "skuid"}}, "right": int(uid)}},
            {"redirect": {"port": int(to)}},
        ]:
            return _rule(ip, port, uid, to)
        case _:
            return None


def parse_iptables(listing: str) -> Present:
    """Read `iptables-save -t nat` of either iptables; what is not exactly ours is Altered, never an error."""
    lines = listing.splitlines()
    if not any(line.startswith(f":{CHAIN} ") for line in lines):
        return Absent()
    jumps = lines.count(JUMP)
    ours = [line for line in lines if line.startswith(f"-A {CHAIN} ")]
    found = _IPTABLES_RULE.fullmatch(ours[0]) if len(ours) == 1 else None
    rule = _rule(found["ip"], int(found["port"]), int(found["uid"]), int(found["to"])) if found else None
    return InForce(rule, jumps) if rule and jumps == 1 else Altered(jumps)


def _rule(ip: str, port: int, uid: int, to: int) -> Rule | None:
    try:
        return Rule(proxy_port=to, proxy_uid=uid, metadata_ip=IPv4Address(ip), metadata_port=port)
    except (SettingError, AddressValueError):
        return None
