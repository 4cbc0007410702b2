"""Find the tools and read what they see now; changes nothing."""

from wisp.redirect.host import Machine, Outcome
from wisp.redirect.plan import Command, Tool
from wisp.redirect.present import iptables_variant, parse_iptables, parse_nft
from wisp.redirect.rule import Absent, Backend, Present, Unknown
from wisp.redirect.scripts import TABLE

_IPTABLES = ("iptables", "iptables-nft", "iptables-legacy")
# The lock need only be openable and lockable. It guards against another iptables at work in this file system,
# and where the usual file cannot be opened there is none.
_NO_LOCK = "/dev/null"


def find_tools(machine: Machine) -> tuple[Tool, ...]:
    """Return at most one tool a backend, in the order of preference: nft, then whatever `iptables` is, then by name."""
    found: dict[Backend, Tool] = {}
    if machine.has("nft"):
        found[Backend.NFT] = Tool(Backend.NFT, "nft")
    for program in _IPTABLES:
        if all(machine.has(program + ending) for ending in ("", "-save", "-restore")):
            tool = _iptables(machine, program)
            found.setdefault(tool.backend, tool)
    return tuple(found.values())


def _iptables(machine: Machine, program: str) -> Tool:
    backend = iptables_variant(machine.run(Command((program, "--version"))).output)
    needs_other_lock = backend is Backend.IPTABLES_LEGACY and not machine.lock_opens()
    return Tool(backend, program, _NO_LOCK if needs_other_lock else None)


def survey(machine: Machine, tools: tuple[Tool, ...]) -> dict[Tool, Present]:
    """Say what each tool sees of a redirect."""
    return {tool: _look(machine, tool) for tool in tools}


def _look(machine: Machine, tool: Tool) -> Present:
    if tool.backend is Backend.NFT:
        return _look_nft(machine)
    if tool.backend is Backend.IPTABLES_LEGACY and not machine.legacy_nat_exists():
        return Absent()
    outcome = machine.run(Command((f"{tool.program}-save", "-t", "nat")))
    return parse_iptables(outcome.output) if outcome.status == 0 else _unknown(outcome)


def _look_nft(machine: Machine) -> Present:
    outcome = machine.run(Command(("nft", "-j", "list", "table", "ip", TABLE)))
    if outcome.status == 0:
        return parse_nft(outcome.output)
    return Absent() if "No such file or directory" in outcome.complaint else _unknown(outcome)


def complaint_of(machine: Machine, tool: Tool, outcome: Outcome) -> str:
    """Say why `tool` failed; iptables-legacy-restore keeps to itself why it may not open the table, -save does not."""
    if tool.backend is not Backend.IPTABLES_LEGACY:
        return outcome.complaint
    return machine.run(Command((f"{tool.program}-save", "-t", "nat"))).complaint or outcome.complaint


def _unknown(outcome: Outcome) -> Unknown:
    return Unknown(one_line(outcome.complaint))


def one_line(complaint: str) -> str:
    """Give a tool's complaint as one line."""
    return " ".join(complaint.split()) or "it did not say why"
