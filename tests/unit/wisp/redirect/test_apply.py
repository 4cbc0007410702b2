"""Installing, showing and removing the redirect, on a fake machine and with real programs."""

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
def test_every_backend_installs_shows_and_removes_the_rule(programs: tuple[str, ...], backend: Backend) -> None:
    """A second `down` succeeds."""
    machine = FakeMachine(*programs)
    done = apply.up(machine, RULE, Choice.AUTO)
    assert ([tool.backend for tool in done.tools], done.notes) == ([backend], ())
    assert apply.up(machine, RULE, Choice.AUTO) == done
    assert apply.show(machine) == apply.Shown(((done.tools[0], RULE),), ())
    assert apply.down(machine) == apply.Done(done.tools, ())
    assert apply.down(machine) == apply.Done((), ())
    assert apply.show(machine) == apply.Shown((), ())


@pytest.mark.parametrize("programs", [("nft", "conntrack"), ("iptables", "conntrack")], ids=["nft", "iptables"])
def test_rule_of_an_earlier_version_is_shown_and_replaced(programs: tuple[str, ...]) -> None:
    """`show` adds a note, `up` replaces the rule in one transaction, and `down` removes it."""
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
    machine = FakeMachine(*EVERYTHING)
    for choice, backend in ((Choice.IPTABLES, Backend.IPTABLES_NFT), (Choice.NFT, Backend.NFT)) * 2:
        apply.up(machine, RULE, choice)
        assert [tool.backend for tool, _ in apply.show(machine).redirects] == [backend]


def test_missing_conntrack_is_reported_in_a_note() -> None:
    assert apply.up(FakeMachine("nft"), RULE, Choice.AUTO).notes == (NOT_FLUSHED,)


def test_up_tries_the_next_backend_if_the_kernel_lacks_one() -> None:
    """A tool that fails for another reason than a missing capability is skipped with a note."""
    machine = FakeMachine(*EVERYTHING, complaints={"nft": UNSUPPORTED, "iptables-restore": "Invalid argument"})
    done = apply.up(machine, RULE, Choice.AUTO)
    assert [tool.backend for tool in done.tools] == [Backend.IPTABLES_LEGACY]
    assert done.notes == (f"nft failed ({UNSUPPORTED})", "iptables failed (Invalid argument)")


def test_backend_that_cannot_be_listed_is_a_note() -> None:
    """This applies while another backend can be listed."""
    machine = FakeMachine("nft", "iptables", complaints={"nft": UNSUPPORTED})
    note = f"nft could not list its rules ({UNSUPPORTED})"
    assert apply.down(machine) == apply.Done((), (note,))
    assert apply.show(machine) == apply.Shown((), (note,))


def test_missing_capability_ends_the_command_at_once() -> None:
    """Without NET_ADMIN every other tool would fail, too."""
    machine = FakeMachine(*EVERYTHING, complaints={"nft": REFUSED})
    with pytest.raises(PrivilegeError, match="NET_ADMIN"):
        apply.up(machine, RULE, Choice.AUTO)
    assert not any(command.script for command in machine.ran if command.arguments[0] != "nft")


def test_refusal_of_iptables_legacy_is_found_with_its_save_command() -> None:
    """Unlike iptables-legacy-save, iptables-legacy-restore does not report that permission was missing."""
    complaints = {"iptables-legacy-restore": "unable to initialize table 'nat'", "iptables-legacy-save": REFUSED}
    with pytest.raises(PrivilegeError, match="NET_ADMIN"):
        apply.up(FakeMachine("iptables-legacy", complaints=complaints), RULE, Choice.AUTO)


def test_failures_of_all_tools_are_one_error() -> None:
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
def test_missing_tool_is_reported_with_its_package(choice: Choice, programs: tuple[str, ...], text: str) -> None:
    with pytest.raises(ToolError, match=f"{text} on PATH: apt-get install nftables"):
        apply.up(FakeMachine(*programs), RULE, choice)


@pytest.mark.parametrize("complaint, error", [(REFUSED, PrivilegeError), (UNSUPPORTED, ToolError)])
def test_error_is_raised_if_no_backend_can_be_listed(complaint: str, error: type[WispError]) -> None:
    """`down` and `show` do not report that there is no redirect."""
    machine = FakeMachine("nft", complaints={"nft": complaint})
    for act in (apply.down, apply.show):
        with pytest.raises(error, match="nft failed"):
            act(machine)
    with pytest.raises(ToolError, match="neither nft nor iptables"):
        apply.down(FakeMachine())


def test_failed_removal_is_an_error() -> None:
    machine = FakeMachine("iptables")
    apply.up(machine, RULE, Choice.AUTO)
    machine.nat[Backend.IPTABLES_NFT].chains["OUTPUT"].append("-p tcp -j WISP")
    with pytest.raises(ToolError, match="iptables-restore failed"):
        apply.down(machine)


def test_altered_chain_is_an_error_of_show() -> None:
    """The message names both commands that fix it."""
    machine = FakeMachine("iptables")
    apply.up(machine, RULE, Choice.AUTO)
    machine.nat[Backend.IPTABLES_NFT].chains["WISP"].clear()
    with pytest.raises(
        WispError, match=r"redirect in iptables-nft .*`wisp redirect up` .*`wisp redirect down`"
    ) as caught:
        apply.show(machine)
    assert caught.value.exit_status == 1


def test_plan_lists_what_up_runs_and_changes_nothing() -> None:
    machine = FakeMachine(*EVERYTHING)
    planned = apply.plan(machine, RULE, Choice.AUTO)
    assert not any(command.script for command in machine.ran)
    before = len(machine.ran)
    apply.up(machine, RULE, Choice.AUTO)
    ran = [command for command in machine.ran[before:] if command.script or command.arguments[0] == "conntrack"]
    assert ran == [step.command for step in planned.steps]


def test_plan_without_tools_is_for_nft_with_a_note() -> None:
    planned = apply.plan(FakeMachine(), RULE, Choice.AUTO)
    assert [type(step) for step in planned.steps] == [Install]
    assert planned.notes == ("--backend auto finds no tool on PATH; this is the script for nft",)


def test_plan_without_capability_assumes_no_rule_with_a_note() -> None:
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
        pytest.param((), "", [], id="no tool"),
        pytest.param(("nft",), "", [NFT], id="nft"),
        pytest.param(
            ALL, "(nf_tables)", [NFT, ("nft", "iptables"), ("legacy", "iptables-legacy")], id="iptables is nft"
        ),
        pytest.param(ALL, "(legacy)", [NFT, ("legacy", "iptables"), ("nft", "iptables-nft")], id="iptables is legacy"),
        pytest.param(ALL[2:], "", [("nft", "iptables-nft"), ("legacy", "iptables-legacy")], id="no plain iptables"),
    ],
)
def test_there_is_one_tool_for_each_backend(
    programs: tuple[str, ...], iptables: str, found: list[Tool | tuple[str, str]]
) -> None:
    """Nft comes first, then `iptables`, then the other iptables; no backend has two tools."""
    machine = FakeMachine(*programs)
    machine.iptables = f"iptables v1.8.9 {iptables}"
    expected = [tool if isinstance(tool, Tool) else Tool(Backend(f"iptables-{tool[0]}"), tool[1]) for tool in found]
    assert find_tools(machine) == tuple(expected)


def test_lock_that_cannot_be_opened_is_replaced() -> None:
    """Only iptables-legacy locks a file."""
    machine = FakeMachine("iptables-nft", "iptables-legacy", lock_opens=False)
    assert [tool.lock for tool in find_tools(machine)] == [None, "/dev/null"]


def test_missing_legacy_table_is_not_listed() -> None:
    """Listing a legacy table creates it."""
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
    ids=["with a message", "silent"],
)
def test_rules_that_cannot_be_listed_are_unknown(complaint: str, why: str) -> None:
    """The tool's own message is the reason, on one line."""
    machine = FakeMachine("nft", complaints={"nft": complaint})
    assert survey(machine, (NFT,)) == {NFT: Unknown(why)}


def test_program_is_found_on_path() -> None:
    assert LocalMachine().has("sh")
    assert not LocalMachine().has("no-such-program")


def test_program_gets_script_locale_and_variables() -> None:
    """Everything it prints is returned."""
    script = 'echo "$LC_ALL $XTABLES_LOCKFILE ${HOME-unset}"; echo no >&2; exit 3\n'
    command = Command(("sh", "-s"), script, (("XTABLES_LOCKFILE", "/dev/null"),))
    assert LocalMachine().run(command) == Outcome(3, "C /dev/null unset\n", "no\n")


@pytest.mark.parametrize("content", [None, b"\x7fno program"], ids=["missing", "broken"])
def test_program_that_cannot_start_is_a_tool_error(tmp_path: Path, content: bytes | None) -> None:
    """The message has the system's reason."""
    program = tmp_path / "nft"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o755)
    with pytest.raises(ToolError, match="cannot be started"):
        LocalMachine().run(Command((str(program),)))


@pytest.mark.parametrize(
    "content, may_exist", [("filter\nnat\n", True), ("filter\n", False), ("", False), (None, False)]
)
def test_legacy_nat_table_is_found_in_the_list_of_the_kernel(
    tmp_path: Path, content: str | None, *, may_exist: bool
) -> None:
    """Without a list there are no legacy tables."""
    names = tmp_path / "ip_tables_names"
    if content is not None:
        names.write_text(content)
    assert LocalMachine(legacy_tables=names).legacy_nat_exists() is may_exist


def test_legacy_nat_table_may_exist_if_the_list_is_unreadable(tmp_path: Path) -> None:
    """Only root may read the list."""
    assert LocalMachine(legacy_tables=tmp_path).legacy_nat_exists()


def test_lock_opens_if_it_exists_or_can_be_created(tmp_path: Path) -> None:
    lock = tmp_path / "xtables.lock"
    assert LocalMachine(xtables_lock=lock).lock_opens()
    lock.touch()
    assert LocalMachine(xtables_lock=lock).lock_opens()
    assert not LocalMachine(xtables_lock=tmp_path / "no-such-folder" / "xtables.lock").lock_opens()
