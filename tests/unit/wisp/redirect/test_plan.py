"""The commands that the redirect runs, planned from the options and the rules that are installed."""

import json
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from tests.unit.wisp.redirect.machine import NatTable, nft_listing
from wisp.base.errors import SettingError
from wisp.redirect.plan import (
    CHAIN,
    MAX_UID,
    Absent,
    Altered,
    Backend,
    Choice,
    Flush,
    InForce,
    Install,
    Present,
    Rule,
    Sweep,
    Tool,
    Unknown,
    as_shell,
    candidates,
    iptables_variant,
    is_refusal,
    parse_address,
    parse_iptables,
    parse_nft,
    plan_down,
    plan_up,
)

GOLDEN = ROOT / "tests" / "golden" / "redirect"
RULE = Rule(proxy_port=8000, proxy_uid=1501, metadata_ip=IPv4Address("169.254.169.254"), metadata_port=80)
OTHER = Rule(proxy_port=9000, proxy_uid=0, metadata_ip=IPv4Address("10.0.0.1"), metadata_port=8080)
NFT = Tool(Backend.NFT, "nft")
MODERN = Tool(Backend.IPTABLES_NFT, "iptables")
LEGACY = Tool(Backend.IPTABLES_LEGACY, "iptables-legacy")
LOCKED_OUT = Tool(Backend.IPTABLES_LEGACY, "iptables-legacy", "/dev/null")
ALL: Mapping[Tool, Present] = {NFT: InForce(RULE), MODERN: InForce(RULE, 1), LEGACY: Altered(2)}


@pytest.mark.parametrize(
    "name, tool, rule, seen, conntrack",
    [
        ("up-nft", NFT, RULE, {NFT: Absent()}, True),
        ("up-nft-other-settings", NFT, OTHER, {NFT: InForce(RULE)}, False),
        ("up-nft-after-iptables", NFT, RULE, {NFT: Absent(), MODERN: InForce(RULE, 1), LEGACY: Absent()}, True),
        ("up-iptables", MODERN, RULE, {MODERN: Absent()}, True),
        ("up-iptables-again", MODERN, RULE, {MODERN: InForce(RULE, 1)}, True),
        ("up-iptables-after-nft", MODERN, RULE, {NFT: InForce(RULE), MODERN: Unknown("refused")}, False),
        ("up-iptables-legacy-without-a-lock", LOCKED_OUT, RULE, {LOCKED_OUT: Altered(2)}, False),
    ],
)
def test_up_runs_the_commands_of_the_golden_file(
    name: str, tool: Tool, rule: Rule, seen: Mapping[Tool, Present], *, conntrack: bool
) -> None:
    planned = as_shell(plan_up(tool, rule, seen, conntrack=conntrack))
    assert planned == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_down_runs_the_commands_of_the_golden_file() -> None:
    """Rules are removed from every backend."""
    assert as_shell(plan_down(ALL)) == (GOLDEN / "down-everything.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("present", [Absent(), Unknown("refused")], ids=["absent", "unknown"])
@pytest.mark.parametrize("tool", [NFT, MODERN, LEGACY], ids=lambda tool: tool.backend.value)
def test_down_runs_nothing_where_no_rule_was_found(tool: Tool, present: Present) -> None:
    assert plan_down({tool: present}) == ()


def test_new_rule_is_installed_before_old_ones_are_removed() -> None:
    """There is a rule at every moment."""
    kinds = [type(step) for step in plan_up(NFT, RULE, ALL, conntrack=True)]
    assert kinds == [Install, Sweep, Sweep, Flush]


@pytest.mark.parametrize(
    "choice, expected",
    [(Choice.AUTO, (NFT, MODERN, LEGACY)), (Choice.NFT, (NFT,)), (Choice.IPTABLES, (MODERN, LEGACY))],
    ids=lambda value: value.value if isinstance(value, Choice) else "",
)
def test_backend_option_selects_tools_in_order(choice: Choice, expected: tuple[Tool, ...]) -> None:
    assert candidates((NFT, MODERN, LEGACY), choice) == expected


ports = st.integers(1, 65535)
rules = st.builds(
    Rule, proxy_port=ports, proxy_uid=st.integers(0, 2**32 - 2), metadata_ip=st.ip_addresses(v=4), metadata_port=ports
)
theirs = st.lists(st.sampled_from(["-j THEIRS", "-p tcp -j WISP_TOO", "-d 10.0.0.1/32 -j ACCEPT"]))
nat_tables = st.builds(
    lambda before, jumps, chain: NatTable(
        {"OUTPUT": [*before, *["-j WISP"] * jumps], **({CHAIN: chain} if jumps or chain else {})}
    ),
    theirs,
    st.integers(0, 4),
    theirs,
)


def _apply(nat: NatTable, rule: Rule) -> None:
    install, *rest = plan_up(MODERN, rule, {MODERN: parse_iptables(nat.save())}, conntrack=False)
    assert not rest
    assert nat.restore(install.command.script).status == 0


@given(nat_tables, rules, rules)
def test_up_leaves_one_rule_whatever_was_there(nat: NatTable, first: Rule, second: Rule) -> None:
    """Our rule comes first, rules of others stay, and the last `up` wins."""
    others = [rule for rule in nat.chains["OUTPUT"] if rule != "-j WISP"]
    _apply(nat, first)
    assert parse_iptables(nat.save()) == InForce(first, jumps=1)
    once = nat.save()
    _apply(nat, first)
    assert nat.save() == once
    _apply(nat, second)
    assert parse_iptables(nat.save()) == InForce(second, jumps=1)
    assert nat.chains["OUTPUT"] == ["-j WISP", *others]


@given(nat_tables, rules)
def test_down_removes_only_what_up_installed(nat: NatTable, rule: Rule) -> None:
    others = [rule for rule in nat.chains["OUTPUT"] if rule != "-j WISP"]
    _apply(nat, rule)
    for step in plan_down({MODERN: parse_iptables(nat.save())}):
        assert nat.restore(step.command.script).status == 0
    assert nat.chains == {"OUTPUT": others}


IMDS = IPv4Address("169.254.169.254")


@pytest.mark.parametrize(
    "port, uid, metadata_port", [(1, 0, 65535), (65535, MAX_UID, 1), (8000, 1501, 80)], ids=["low", "high", "default"]
)
def test_numbers_at_the_limits_are_accepted(port: int, uid: int, metadata_port: int) -> None:
    """Ports are 1 to 65535, uids 0 to 4294967294."""
    rule = Rule(proxy_port=port, proxy_uid=uid, metadata_ip=IMDS, metadata_port=metadata_port)
    assert str(rule) == f"TCP to {IMDS}:{metadata_port} goes to 127.0.0.1:{port}, except from uid {uid}"


@pytest.mark.parametrize(
    "flag, numbers",
    [
        ("--proxy-port", (0, 1501, 80)),
        ("--proxy-port", (65536, 1501, 80)),
        ("--proxy-uid", (8000, -1, 80)),
        ("--proxy-uid", (8000, 2**32 - 1, 80)),
        ("--metadata-port", (8000, 1501, 0)),
        ("--metadata-port", (8000, 1501, 70000)),
    ],
)
def test_number_out_of_range_is_rejected_with_flag_value_and_range(flag: str, numbers: tuple[int, int, int]) -> None:
    port, uid, metadata_port = numbers
    with pytest.raises(SettingError, match=rf"^{flag} is -?\d+: give a whole number from [01] to \d+$"):
        Rule(proxy_port=port, proxy_uid=uid, metadata_ip=IMDS, metadata_port=metadata_port)


@pytest.mark.parametrize(
    "text", ["", "localhost", "::1", "169.254.169", "169.254.169.254/32", "1.2.3.04", "1.2.3.4; flush ruleset"]
)
def test_text_that_is_not_an_ipv4_address_is_rejected(text: str) -> None:
    """Such text must never get into a script."""
    with pytest.raises(SettingError, match="--metadata-ip"):
        parse_address(text)


def test_ipv4_address_is_parsed() -> None:
    assert parse_address("169.254.169.254") == IMDS


RULE = Rule(proxy_port=8000, proxy_uid=1501, metadata_ip=IPv4Address("169.254.169.254"), metadata_port=80)
NFT_CHAIN = "type nat hook output priority -199; policy accept;\n"
NFT_SIDECAR = "ip daddr 169.254.169.254 tcp dport 80 meta skuid 1501 dnat to 169.254.169.254\n"
NFT_REDIRECT = "ip daddr 169.254.169.254 tcp dport 80 meta skuid != 1501 redirect to :8000\n"
NFT_RULES = NFT_CHAIN + NFT_SIDECAR + NFT_REDIRECT
LISTING = nft_listing(NFT_RULES)
FIRST_LISTING = nft_listing("type nat hook output priority -100; policy accept;\n" + NFT_REDIRECT)
_MATCH = "-A WISP -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner"
IPTABLES_SIDECAR = f"{_MATCH} --uid-owner 1501 -j DNAT --to-destination 169.254.169.254\n"
IPTABLES_REDIRECT = f"{_MATCH} ! --uid-owner 1501 -j REDIRECT --to-ports 8000\n"
SAVED = f"*nat\n:OUTPUT ACCEPT [0:0]\n:WISP - [0:0]\n-A OUTPUT -j WISP\n{IPTABLES_SIDECAR}{IPTABLES_REDIRECT}COMMIT\n"

anything_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("nftables"), inner),
)


def test_nft_listing_is_parsed_as_the_installed_rule() -> None:
    """Newer nft also lists the address family of the rule's own table."""
    assert parse_nft(LISTING) == InForce(RULE)
    assert parse_nft(LISTING.replace('"dnat": {', '"dnat": {"family": "ip", ')) == InForce(RULE)


def test_chain_of_an_earlier_version_is_outdated() -> None:
    """It has the priority of service meshes and no rule for the sidecar's own connections."""
    assert parse_nft(FIRST_LISTING) == InForce(RULE, outdated=True)
    assert parse_iptables(SAVED.replace(IPTABLES_SIDECAR, "")) == InForce(RULE, jumps=1, outdated=True)


@pytest.mark.parametrize(
    "listing",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="no object"),
        pytest.param('{"nftables": [1]}', id="no entries"),
        pytest.param('{"nftables": []}', id="no table"),
        pytest.param(nft_listing(NFT_CHAIN), id="no rule"),
        pytest.param(nft_listing(NFT_CHAIN + NFT_REDIRECT), id="no rule for the sidecar"),
        pytest.param(nft_listing(NFT_CHAIN + NFT_SIDECAR), id="no redirect"),
        pytest.param(nft_listing(NFT_CHAIN + NFT_REDIRECT + NFT_SIDECAR), id="another order"),
        pytest.param(nft_listing(NFT_CHAIN + NFT_SIDECAR + NFT_REDIRECT * 2), id="two redirects"),
        pytest.param(nft_listing(NFT_CHAIN + NFT_SIDECAR * 2 + NFT_REDIRECT), id="two rules for the sidecar"),
        pytest.param(nft_listing(NFT_RULES.replace("1501 dnat", "0 dnat")), id="another sidecar"),
        pytest.param(nft_listing(NFT_RULES.replace("to 169", "to 10")), id="the sidecar sent elsewhere"),
        pytest.param(LISTING.replace('"addr": ', '"port": 1, "addr": '), id="the sidecar sent to another port"),
        pytest.param(LISTING.replace("-199", "0"), id="another priority"),
        pytest.param(LISTING.replace("-199", "-100"), id="the earlier priority with the rules of now"),
        pytest.param(FIRST_LISTING.replace("-100", "-199"), id="the priority of now with the earlier rule"),
        pytest.param(LISTING.replace('"nat"', '"filter"'), id="another type"),
        pytest.param(LISTING.replace('"output"', '"input"'), id="another hook"),
        pytest.param(LISTING.replace('"!="', '"=="'), id="the uid turned round"),
        pytest.param(LISTING.replace("169.254.169.254", "no address"), id="no address"),
        pytest.param(LISTING.replace("8000", "0"), id="no port"),
        pytest.param(LISTING.replace("redirect", "dnat"), id="another verdict"),
        pytest.param('{"nftables":' * 100_000, id="deep"),
    ],
)
def test_table_that_differs_in_anything_is_altered(listing: str) -> None:
    assert parse_nft(listing) == Altered()


def test_iptables_listing_is_parsed_as_the_installed_rule() -> None:
    assert parse_iptables(SAVED) == InForce(RULE, jumps=1)


@pytest.mark.parametrize(
    "listing, jumps",
    [
        pytest.param(SAVED.replace("-A OUTPUT -j WISP\n", ""), 0, id="no jump"),
        pytest.param(SAVED.replace("-A OUTPUT -j WISP\n", "-A OUTPUT -j WISP\n" * 2), 2, id="two jumps"),
        pytest.param(SAVED.replace("-A OUTPUT -j WISP\n", "-A OUTPUT -p tcp -j WISP\n"), 0, id="another jump"),
        pytest.param(SAVED.replace(IPTABLES_SIDECAR + IPTABLES_REDIRECT, ""), 1, id="no rule"),
        pytest.param(SAVED.replace(IPTABLES_REDIRECT, ""), 1, id="no redirect"),
        pytest.param(SAVED.replace(IPTABLES_REDIRECT, IPTABLES_REDIRECT * 2), 1, id="two redirects"),
        pytest.param(SAVED.replace(IPTABLES_SIDECAR, IPTABLES_SIDECAR * 2), 1, id="two rules for the sidecar"),
        pytest.param(SAVED.replace("--uid-owner 1501 -j DNAT", "--uid-owner 0 -j DNAT"), 1, id="another sidecar"),
        pytest.param(SAVED.replace("destination 169", "destination 10"), 1, id="the sidecar sent elsewhere"),
        pytest.param(SAVED.replace("! --uid", "--uid"), 1, id="the uid turned round"),
        pytest.param(SAVED.replace("8000", "99999"), 1, id="no port"),
        pytest.param(SAVED.replace("169.254.169.254", "169.254.169"), 1, id="no address"),
    ],
)
def test_chain_that_differs_in_anything_is_altered(listing: str, jumps: int) -> None:
    """The number of jumps to it is reported."""
    assert parse_iptables(listing) == Altered(jumps)


@pytest.mark.parametrize("listing", ["", SAVED.replace("WISP", "THEIRS"), SAVED.replace("WISP", "WISPER")])
def test_listing_without_our_chain_is_absent(listing: str) -> None:
    assert parse_iptables(listing) == Absent()


@given(st.text() | anything_json.map(json.dumps) | anything_json.map(lambda value: json.dumps({"nftables": value})))
def test_any_listing_is_parsed_without_an_error(listing: str) -> None:
    assert isinstance(parse_nft(listing), get_args(Present))
    assert isinstance(parse_iptables(f":WISP - [0:0]\n-A WISP {listing}"), get_args(Present))


@pytest.mark.parametrize(
    "version, backend",
    [
        ("iptables v1.8.9 (nf_tables)\n", Backend.IPTABLES_NFT),
        ("iptables v1.8.9 (legacy)\n", Backend.IPTABLES_LEGACY),
        ("iptables v1.6.1\n", Backend.IPTABLES_LEGACY),
        ("", Backend.IPTABLES_LEGACY),
    ],
)
def test_iptables_version_names_its_kernel_interface(version: str, backend: Backend) -> None:
    """The interface is in parentheses."""
    assert iptables_variant(version) is backend


@pytest.mark.parametrize(
    "complaint, refusal",
    [
        ("Operation not permitted (you must be root)\nnetlink: Error: cache initialization failed", True),
        ("iptables-save v1.8.9 (legacy): Cannot initialize: Permission denied (you must be root)", True),
        ("Error: No such file or directory", False),
        ("", False),
    ],
)
def test_missing_permission_is_distinguished_from_other_failures(complaint: str, refusal: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """EPERM and EACCES mean that the kernel refused."""
    assert is_refusal(complaint) is refusal
