"""What the tools' listings are read as."""

import json
from ipaddress import IPv4Address
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.redirect.machine import nft_listing
from wisp.redirect.listing import iptables_variant, is_refusal, parse_iptables, parse_nft
from wisp.redirect.plan import Absent, Altered, Backend, InForce, Present, Rule

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


def test_nfts_listing_is_read_back() -> None:
    """The rule that nft lists is the rule that was installed; newer nft also give the family of its own table."""
    assert parse_nft(LISTING) == InForce(RULE)
    assert parse_nft(LISTING.replace('"dnat": {', '"dnat": {"family": "ip", ')) == InForce(RULE)


def test_the_chain_of_an_earlier_version_is_recognised() -> None:
    """It has the priority that service meshes have, and no rule for the sidecar's own connections."""
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
def test_any_other_table_is_altered(listing: str) -> None:
    """A table under our name that differs in anything is not taken for ours."""
    assert parse_nft(listing) == Altered()


def test_iptables_listing_is_read_back() -> None:
    """The rule that iptables-save prints is the rule that was installed."""
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
def test_any_other_chain_is_altered(listing: str, jumps: int) -> None:
    """A chain under our name that differs is not taken for ours, and how often it is jumped to is kept."""
    assert parse_iptables(listing) == Altered(jumps)


@pytest.mark.parametrize("listing", ["", SAVED.replace("WISP", "THEIRS"), SAVED.replace("WISP", "WISPER")])
def test_no_chain_is_absent(listing: str) -> None:
    """Without our chain nothing of ours is there."""
    assert parse_iptables(listing) == Absent()


@given(st.text() | anything_json.map(json.dumps) | anything_json.map(lambda value: json.dumps({"nftables": value})))
def test_no_listing_is_an_error(listing: str) -> None:
    """Whatever a tool prints, reading it gives an answer."""
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
def test_which_iptables_it_is(version: str, backend: Backend) -> None:
    """The version's bracket says which kernel interface an `iptables` speaks to."""
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
def test_what_is_a_refusal(complaint: str, refusal: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """EPERM and EACCES are the kernel's refusal; anything else is a failure."""
    assert is_refusal(complaint) is refusal
