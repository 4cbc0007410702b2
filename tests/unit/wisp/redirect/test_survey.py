"""Which tools are found, and what they are asked."""

import pytest

from tests.unit.wisp.redirect.machine import FakeMachine
from wisp.redirect.plan import Tool
from wisp.redirect.rule import Absent, Backend, Unknown
from wisp.redirect.survey import find_tools, survey

NFT = Tool(Backend.NFT, "nft")
ALL = ("nft", "iptables", "iptables-nft", "iptables-legacy")


@pytest.mark.parametrize(
    "programs, iptables, found",
    [
        pytest.param((), "", [], id="nothing"),
        pytest.param(("nft",), "", [NFT], id="nft"),
        pytest.param(
            ALL, "(nf_tables)", [NFT, ("nft", "iptables"), ("legacy", "iptables-legacy")], id="iptables is nft"
        ),
        pytest.param(ALL, "(legacy)", [NFT, ("legacy", "iptables"), ("nft", "iptables-nft")], id="iptables is legacy"),
        pytest.param(ALL[2:], "", [("nft", "iptables-nft"), ("legacy", "iptables-legacy")], id="no plain iptables"),
    ],
)
def test_one_tool_a_backend(programs: tuple[str, ...], iptables: str, found: list[Tool | tuple[str, str]]) -> None:
    """First comes nft, then whatever `iptables` is, then the other one; none is there under two names."""
    machine = FakeMachine(*programs)
    machine.iptables = f"iptables v1.8.9 {iptables}"
    wanted = [tool if isinstance(tool, Tool) else Tool(Backend(f"iptables-{tool[0]}"), tool[1]) for tool in found]
    assert find_tools(machine) == tuple(wanted)


def test_a_lock_that_cannot_be_opened_is_replaced() -> None:
    """Only iptables-legacy locks a file; where it cannot, it gets one that it can open."""
    machine = FakeMachine("iptables-nft", "iptables-legacy", lock_opens=False)
    assert [tool.lock for tool in find_tools(machine)] == [None, "/dev/null"]


def test_an_absent_legacy_table_is_not_looked_at() -> None:
    """Listing a legacy table creates it, so the tool is not even run."""
    machine = FakeMachine("iptables-legacy")
    (tool,) = find_tools(machine)
    assert survey(machine, (tool,)) == {tool: Absent()}
    assert machine.ran == []


@pytest.mark.parametrize(
    "complaint, why",
    [
        ("Operation not permitted\n  (you must be root)\n", "Operation not permitted (you must be root)"),
        ("", "it did not say why"),
    ],
    ids=["said why", "silent"],
)
def test_what_cannot_be_seen_is_unknown(complaint: str, why: str) -> None:
    """A tool that fails for another reason than absence leaves the question open, in its own words on one line."""
    machine = FakeMachine("nft", complaints={"nft": complaint})
    assert survey(machine, (NFT,)) == {NFT: Unknown(why)}
