"""What is run, given what is wanted and what is present."""

from collections.abc import Mapping
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from tests.unit.wisp.redirect.machine import NatTable
from wisp.base.errors import SettingError
from wisp.redirect.listing import parse_iptables
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
    parse_address,
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
def test_up_is_as_written_down(
    name: str, tool: Tool, rule: Rule, seen: Mapping[Tool, Present], *, conntrack: bool
) -> None:
    """`up` runs exactly this."""
    planned = as_shell(plan_up(tool, rule, seen, conntrack=conntrack))
    assert planned == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_down_is_as_written_down() -> None:
    """`down` removes from every backend what is there."""
    assert as_shell(plan_down(ALL)) == (GOLDEN / "down-everything.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("present", [Absent(), Unknown("refused")], ids=["absent", "unknown"])
@pytest.mark.parametrize("tool", [NFT, MODERN, LEGACY], ids=lambda tool: tool.backend.value)
def test_down_does_nothing_about_nothing(tool: Tool, present: Present) -> None:
    """Where nothing is seen, nothing is run."""
    assert plan_down({tool: present}) == ()


def test_the_new_rule_comes_before_the_old_ones_go() -> None:
    """Installed first, swept next, flushed last: at no moment is there no rule."""
    kinds = [type(step) for step in plan_up(NFT, RULE, ALL, conntrack=True)]
    assert kinds == [Install, Sweep, Sweep, Flush]


@pytest.mark.parametrize(
    "choice, kept",
    [(Choice.AUTO, (NFT, MODERN, LEGACY)), (Choice.NFT, (NFT,)), (Choice.IPTABLES, (MODERN, LEGACY))],
    ids=lambda value: value.value if isinstance(value, Choice) else "",
)
def test_the_backend_can_be_chosen(choice: Choice, kept: tuple[Tool, ...]) -> None:
    """`--backend` keeps its tools and their order."""
    assert candidates((NFT, MODERN, LEGACY), choice) == kept


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
def test_from_any_state_up_gives_one_rule(nat: NatTable, first: Rule, second: Rule) -> None:
    """Whatever iptables holds, `up` leaves our rule once and first, others' alone, and the last `up` wins."""
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
def test_down_undoes_up(nat: NatTable, rule: Rule) -> None:
    """After `down` nothing of ours is left and others' rules are as they were."""
    others = [rule for rule in nat.chains["OUTPUT"] if rule != "-j WISP"]
    _apply(nat, rule)
    for step in plan_down({MODERN: parse_iptables(nat.save())}):
        assert nat.restore(step.command.script).status == 0
    assert nat.chains == {"OUTPUT": others}


IMDS = IPv4Address("169.254.169.254")


@pytest.mark.parametrize(
    "port, uid, metadata_port", [(1, 0, 65535), (65535, MAX_UID, 1), (8000, 1501, 80)], ids=["low", "high", "default"]
)
def test_the_whole_range_is_taken(port: int, uid: int, metadata_port: int) -> None:
    """Ports go from 1 to 65535, uids from 0 to 4294967294."""
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
def test_out_of_range_names_the_flag(flag: str, numbers: tuple[int, int, int]) -> None:
    """A number out of range is refused with the flag, the value and the range."""
    port, uid, metadata_port = numbers
    with pytest.raises(SettingError, match=rf"^{flag} is -?\d+: give a whole number from [01] to \d+$"):
        Rule(proxy_port=port, proxy_uid=uid, metadata_ip=IMDS, metadata_port=metadata_port)


@pytest.mark.parametrize(
    "text", ["", "localhost", "::1", "169.254.169", "169.254.169.254/32", "1.2.3.04", "1.2.3.4; flush ruleset"]
)
def test_only_a_dotted_address_is_one(text: str) -> None:
    """What is not exactly an IPv4 address never gets into a script."""
    with pytest.raises(SettingError, match="--metadata-ip"):
        parse_address(text)


def test_an_address_is_read() -> None:
    """The usual address reads as itself."""
    assert parse_address("169.254.169.254") == IMDS
