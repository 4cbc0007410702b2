"""What the shell of the redirect does on a machine in memory."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.unit.wisp.redirect.machine import FakeMachine
from wisp.base.errors import PrivilegeError, ToolError, WispError
from wisp.redirect import apply
from wisp.redirect.apply import LocalMachine, Outcome, find_tools, survey
from wisp.redirect.plan import Absent, Backend, Choice, Command, Install, Rule, Sweep, Tool, Unknown

RULE = Rule(proxy_port=8000, proxy_uid=1501, metadata_ip=IPv4Address("169.254.169.254"), metadata_port=80)
EVERYTHING = ("nft", "iptables", "iptables-legacy", "conntrack")
REFUSED = "Operation not permitted (you must be root)"
UNSUPPORTED = "netlink: Error: Protocol not supported"
NOT_FLUSHED = "no conntrack on PATH: connections already tracked to 169.254.169.254 are not redirected"


@pytest.mark.parametrize(
    "programs, backend",
    [(EVERYTHING, Backend.NFT), (EVERYTHING[1:], Backend.IPTABLES_NFT), (EVERYTHING[2:], Backend.IPTABLES_LEGACY)],
    ids=lambda value: value.value if isinstance(value, Backend) else "",
)
def test_up_show_down(programs: tuple[str, ...], backend: Backend) -> None:
    """With any backend: up puts the rule in force, show reads it back, down removes it, again is fine."""
    machine = FakeMachine(*programs)
    done = apply.up(machine, RULE, Choice.AUTO)
    assert ([tool.backend for tool in done.tools], done.notes) == ([backend], ())
    assert apply.up(machine, RULE, Choice.AUTO) == done
    assert apply.show(machine) == apply.Shown(((done.tools[0], RULE),), ())
    assert apply.down(machine) == apply.Done(done.tools, ())
    assert apply.down(machine) == apply.Done((), ())
    assert apply.show(machine) == apply.Shown((), ())


@pytest.mark.parametrize("programs", [("nft", "conntrack"), ("iptables", "conntrack")], ids=["nft", "iptables"])
def test_a_rule_of_an_earlier_version_is_shown_and_replaced(programs: tuple[str, ...]) -> None:
    """`show` says what is in force, with a note; `up` replaces it in one transaction and `down` removes it."""
    machine = FakeMachine(*programs)
    apply.up(machine, RULE, Choice.AUTO)
    current = apply.show(machine)
    machine.downgrade()
    earlier = apply.show(machine)
    assert earlier.redirects == current.redirects
    assert ["an earlier version" in note for note in earlier.notes] == [True]
    machine.ran.clear()
    apply.up(machine, RULE, Choice.AUTO)
    assert len([command for command in machine.ran if command.script]) == 1
    assert apply.show(machine) == current
    machine.downgrade()
    apply.down(machine)
    assert apply.show(machine) == apply.Shown((), ())


def test_up_moves_a_rule_from_one_backend_to_another() -> None:
    """What another backend held is gone after `up`."""
    machine = FakeMachine(*EVERYTHING)
    for choice, backend in ((Choice.IPTABLES, Backend.IPTABLES_NFT), (Choice.NFT, Backend.NFT)) * 2:
        apply.up(machine, RULE, choice)
        assert [tool.backend for tool, _ in apply.show(machine).redirects] == [backend]


def test_without_conntrack_up_says_what_stays() -> None:
    """The flush is left out, and a note says so."""
    assert apply.up(FakeMachine("nft"), RULE, Choice.AUTO).notes == (NOT_FLUSHED,)


def test_up_goes_on_where_the_kernel_does_not_know_a_backend() -> None:
    """A tool that fails for another reason than a missing capability is passed over, and named."""
    machine = FakeMachine(*EVERYTHING, complaints={"nft": UNSUPPORTED, "iptables-restore": "Invalid argument"})
    done = apply.up(machine, RULE, Choice.AUTO)
    assert [tool.backend for tool in done.tools] == [Backend.IPTABLES_LEGACY]
    assert done.notes == (f"nft failed ({UNSUPPORTED})", "iptables failed (Invalid argument)")


def test_what_cannot_be_seen_is_noted() -> None:
    """As long as one backend can be looked at, the others are a note."""
    machine = FakeMachine("nft", "iptables", complaints={"nft": UNSUPPORTED})
    note = f"nft could not list its rules ({UNSUPPORTED})"
    assert apply.down(machine) == apply.Done((), (note,))
    assert apply.show(machine) == apply.Shown((), (note,))


def test_a_refusal_ends_it_at_once() -> None:
    """Without NET_ADMIN no other tool is tried: none would fare better."""
    machine = FakeMachine(*EVERYTHING, complaints={"nft": REFUSED})
    with pytest.raises(PrivilegeError, match="NET_ADMIN"):
        apply.up(machine, RULE, Choice.AUTO)
    assert not any(command.script for command in machine.ran if command.arguments[0] != "nft")


def test_legacy_says_why_when_asked_again() -> None:
    """iptables-legacy-restore does not say that it was refused; iptables-legacy-save does."""
    complaints = {"iptables-legacy-restore": "unable to initialize table 'nat'", "iptables-legacy-save": REFUSED}
    with pytest.raises(PrivilegeError, match="NET_ADMIN"):
        apply.up(FakeMachine("iptables-legacy", complaints=complaints), RULE, Choice.AUTO)


def test_all_tools_failing_is_one_error() -> None:
    """When no tool does, the error gives each one's reason."""
    machine = FakeMachine("nft", "iptables", complaints={"nft": UNSUPPORTED, "iptables-restore": "no such table"})
    with pytest.raises(ToolError, match=r"nft failed .*; iptables failed \(no such table\)"):
        apply.up(machine, RULE, Choice.AUTO)


@pytest.mark.parametrize(
    "choice, programs, text",
    [
        (Choice.AUTO, (), "neither nft nor iptables found"),
        (Choice.NFT, ("iptables",), "no nft found"),
        (Choice.IPTABLES, ("nft",), "no iptables found"),
    ],
    ids=lambda value: value.value if isinstance(value, Choice) else "",
)
def test_no_tool_is_an_error_with_a_remedy(choice: Choice, programs: tuple[str, ...], text: str) -> None:
    """A missing tool is named, with the package that has it."""
    with pytest.raises(ToolError, match=f"{text} on PATH: apt-get install nftables"):
        apply.up(FakeMachine(*programs), RULE, choice)


@pytest.mark.parametrize("complaint, error", [(REFUSED, PrivilegeError), (UNSUPPORTED, ToolError)])
def test_nothing_to_be_seen_is_an_error(complaint: str, error: type[WispError]) -> None:
    """When no backend can be looked at, down and show do not claim that nothing is there."""
    machine = FakeMachine("nft", complaints={"nft": complaint})
    for act in (apply.down, apply.show):
        with pytest.raises(error, match="nft failed"):
            act(machine)
    with pytest.raises(ToolError, match="neither nft nor iptables"):
        apply.down(FakeMachine())


def test_a_leftover_that_cannot_be_removed_is_an_error() -> None:
    """`down` does not call a failed removal a success."""
    machine = FakeMachine("iptables")
    apply.up(machine, RULE, Choice.AUTO)
    machine.nat[Backend.IPTABLES_NFT].chains["OUTPUT"].append("-p tcp -j WISP")
    with pytest.raises(ToolError, match="iptables-restore failed"):
        apply.down(machine)


def test_show_does_not_describe_what_was_altered() -> None:
    """A chain of our name that `up` does not install is an error with both remedies."""
    machine = FakeMachine("iptables")
    apply.up(machine, RULE, Choice.AUTO)
    machine.nat[Backend.IPTABLES_NFT].chains["WISP"].clear()
    with pytest.raises(
        WispError, match=r"redirect in iptables-nft .*`wisp redirect up` .*`wisp redirect down`"
    ) as caught:
        apply.show(machine)
    assert caught.value.exit_status == 1


def test_plan_runs_nothing_that_changes_anything() -> None:
    """`plan` lists what `up` runs first and gives no tool a script."""
    machine = FakeMachine(*EVERYTHING)
    planned = apply.plan(machine, RULE, Choice.AUTO)
    assert not any(command.script for command in machine.ran)
    before = len(machine.ran)
    apply.up(machine, RULE, Choice.AUTO)
    ran = [command for command in machine.ran[before:] if command.script or command.arguments[0] == "conntrack"]
    assert ran == [step.command for step in planned.steps]


def test_plan_needs_no_tool() -> None:
    """Without any tool it is nft's plan, and a note says so."""
    planned = apply.plan(FakeMachine(), RULE, Choice.AUTO)
    assert [type(step) for step in planned.steps] == [Install]
    assert planned.notes == ("--backend auto finds no tool on PATH; this is the script for nft",)


def test_plan_needs_no_capability() -> None:
    """What may not be seen is taken for absent, and a note says so."""
    machine = FakeMachine("nft", "iptables", complaints={"nft": REFUSED})
    apply.up(machine, RULE, Choice.IPTABLES)
    planned = apply.plan(machine, RULE, Choice.AUTO)
    assert [type(step) for step in planned.steps] == [Install, Sweep]
    (note,) = planned.notes
    assert note == f"planned as if no redirect were present, because rules could not be listed (nft: {REFUSED})"


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


def test_a_program_is_found_or_not() -> None:
    """Only what is on PATH is there."""
    assert LocalMachine().has("sh")
    assert not LocalMachine().has("no-such-program")


def test_a_program_gets_its_script_and_settings() -> None:
    """A command gets its standard input, the C locale and what it sets; all that it says comes back."""
    script = 'echo "$LC_ALL $XTABLES_LOCKFILE ${HOME-unset}"; echo no >&2; exit 3\n'
    command = Command(("sh", "-s"), script, (("XTABLES_LOCKFILE", "/dev/null"),))
    assert LocalMachine().run(command) == Outcome(3, "C /dev/null unset\n", "no\n")


@pytest.mark.parametrize("content", [None, b"\x7fno program"], ids=["missing", "broken"])
def test_a_program_that_cannot_start_is_a_tool_error(tmp_path: Path, content: bytes | None) -> None:
    """What cannot be run is an error of ours, with the system's reason."""
    program = tmp_path / "nft"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o755)
    with pytest.raises(ToolError, match="cannot be started"):
        LocalMachine().run(Command((str(program),)))


@pytest.mark.parametrize(
    "content, may_exist", [("filter\nnat\n", True), ("filter\n", False), ("", False), (None, False)]
)
def test_whether_a_legacy_nat_table_exists(tmp_path: Path, content: str | None, may_exist: bool) -> None:  # noqa: FBT001
    """The kernel's list says so; no list, no legacy tables."""
    names = tmp_path / "ip_tables_names"
    if content is not None:
        names.write_text(content)
    assert LocalMachine(legacy_tables=names).legacy_nat_exists() is may_exist


def test_a_list_that_cannot_be_read_leaves_it_open(tmp_path: Path) -> None:
    """Only root may read the list; for others there may be a legacy table."""
    assert LocalMachine(legacy_tables=tmp_path).legacy_nat_exists()


def test_whether_the_lock_opens(tmp_path: Path) -> None:
    """It does when it is there or can be made."""
    lock = tmp_path / "xtables.lock"
    assert LocalMachine(xtables_lock=lock).lock_opens()
    lock.touch()
    assert LocalMachine(xtables_lock=lock).lock_opens()
    assert not LocalMachine(xtables_lock=tmp_path / "no-such-folder" / "xtables.lock").lock_opens()
