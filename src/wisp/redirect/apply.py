"""Apply the redirect: find the tools, read what is present, ask the plan, and run it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, assert_never

from wisp.base.errors import PrivilegeError, ToolError, WispError
from wisp.redirect.plan import (
    DEFAULT_TOOL,
    Absent,
    Altered,
    Backend,
    Choice,
    Command,
    Flush,
    InForce,
    Install,
    Present,
    Rule,
    Step,
    Sweep,
    Tool,
    Unknown,
    candidates,
    iptables_variant,
    is_refusal,
    parse_iptables,
    parse_nft,
    plan_down,
    plan_up,
)
from wisp.redirect.script import TABLE

_XTABLES_LOCK = Path("/run/xtables.lock")
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_TIMEOUT = 30  # seconds; a transaction takes milliseconds, and iptables waits five seconds for its lock


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: its exit status, standard output and standard error."""

    status: int
    output: str
    error: str


class Machine(Protocol):
    """What `apply` needs of the machine."""

    def has(self, program: str) -> bool:
        """Return whether `program` is on PATH."""
        ...

    def run(self, command: Command) -> Outcome:
        """Run `command` to its end. Raise ToolError if it cannot be started or does not end."""
        ...

    def legacy_nat_exists(self) -> bool:
        """Return whether iptables-legacy may hold a nat table. Listing a table that does not exist would create it."""
        ...

    def lock_opens(self) -> bool:
        """Return whether iptables-legacy can open its lock file."""
        ...


class LocalMachine:
    """The `Machine` that this process runs on, in its network namespace."""

    def __init__(self, *, xtables_lock: Path = _XTABLES_LOCK, legacy_tables: Path = _LEGACY_TABLES) -> None:
        self._xtables_lock = xtables_lock
        self._legacy_tables = legacy_tables

    def has(self, program: str) -> bool:
        """Return whether `program` is on PATH."""
        return shutil.which(program) is not None

    def run(self, command: Command) -> Outcome:
        """Run `command` in the C locale and an otherwise empty environment, because its errors are parsed."""
        name, *arguments = command.arguments
        environment = {"LC_ALL": "C", **dict(command.environment)}
        try:
            ended = subprocess.run(
                [shutil.which(name) or name, *arguments],
                input=command.script,
                env=environment,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT,
            )
        except OSError as error:
            raise ToolError(f"{name} cannot be started ({error.strerror})", hint="install it again") from error
        except subprocess.TimeoutExpired as error:
            raise ToolError(
                f"{name} did not end within {_TIMEOUT} s", hint="check which process holds its lock"
            ) from error
        return Outcome(ended.returncode, ended.stdout, ended.stderr)

    def legacy_nat_exists(self) -> bool:
        """Read the kernel's list of legacy tables. Only root can read it; otherwise assume that there may be one."""
        try:
            return "nat" in self._legacy_tables.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def lock_opens(self) -> bool:
        """Return whether the lock file can be opened or created. Only root can, and not on a read-only root."""
        if self._xtables_lock.exists():
            return os.access(self._xtables_lock, os.R_OK)
        return os.access(self._xtables_lock.parent, os.W_OK)


_IPTABLES = ("iptables", "iptables-nft", "iptables-legacy")
# Any file that can be opened and locked will do: the lock guards against another iptables in this file system, and
# there is none where the usual lock file cannot be opened.
_NO_LOCK = "/dev/null"


@dataclass(frozen=True, slots=True)
class Done:
    """The tools that `up` or `down` used, and notes for standard error."""

    tools: tuple[Tool, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """What `up` would run, and notes for standard error."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The redirects in force, by tool, and notes for standard error."""

    redirects: tuple[tuple[Tool, Rule], ...]
    notes: tuple[str, ...]


def up(machine: Machine, rule: Rule, choice: Choice) -> Done:
    """Install `rule` with the first tool that succeeds.

    A tool that fails has changed nothing, so the next one is tried. Raise PrivilegeError at once if a capability is
    missing, and ToolError if no tool is found, all failed, or an earlier redirect cannot be removed.
    """
    tools = find_tools(machine)
    seen = survey(machine, tools)
    conntrack = machine.has("conntrack")
    failures: list[str] = []
    for tool in candidates(tools, choice):
        install, *rest = plan_up(tool, rule, seen, conntrack=conntrack)
        outcome = machine.run(install.command)
        if outcome.status == 0:
            _finish(machine, rest)
            return Done((tool,), (*failures, *([] if conntrack else [_no_flush(rule)])))
        failure = _failure(tool.program, _error_of(machine, tool, outcome))
        if isinstance(failure, PrivilegeError):
            raise failure
        failures.append(failure.problem)
    raise _none_worked(choice, failures)


def plan(machine: Machine, rule: Rule, choice: Choice) -> Planned:
    """Return what `up` would run with the first tool, or with nft if there is no tool.

    Changes nothing. Without a capability it cannot see what is present, and says so in a note.
    """
    tools = find_tools(machine)
    seen = survey(machine, tools)
    allowed = candidates(tools, choice)
    notes = [] if allowed else [f"--backend {choice.value} finds no tool on PATH; this is the script for nft"]
    unseen = [f"{tool.program}: {why}" for tool, why in _unseen(seen)]
    notes += (
        [f"planned as if no redirect were present, because rules could not be listed ({'; '.join(unseen)})"]
        if unseen
        else []
    )
    tool = allowed[0] if allowed else DEFAULT_TOOL
    return Planned(plan_up(tool, rule, seen, conntrack=machine.has("conntrack")), tuple(notes))


def down(machine: Machine) -> Done:
    """Remove the redirects of all backends; it is a success if there are none.

    Raise PrivilegeError or ToolError if no backend can be listed or a removal fails.
    """
    seen = _survey_or_raise(machine)
    _finish(machine, plan_down(seen))
    held = (tool for tool, present in seen.items() if isinstance(present, InForce | Altered))
    return Done(tuple(held), _blind_spots(seen))


def show(machine: Machine) -> Shown:
    """Return the redirects in force.

    Raise WispError if one was altered, PrivilegeError or ToolError if no backend can be listed.
    """
    seen = _survey_or_raise(machine)
    for tool, present in seen.items():
        if isinstance(present, Altered):
            raise WispError(
                f"the redirect in {tool.backend.value} is not as `wisp redirect up` installs it",
                hint="run `wisp redirect up` to replace it or `wisp redirect down` to remove it",
            )
    in_force = [(tool, present) for tool, present in seen.items() if isinstance(present, InForce)]
    outdated = [
        f"the rule in {tool.backend.value} was installed by an earlier version, and a service mesh may take the "
        "traffic before it does; `wisp redirect up` replaces it"
        for tool, present in in_force
        if present.outdated
    ]
    return Shown(tuple((tool, present.rule) for tool, present in in_force), (*outdated, *_blind_spots(seen)))


def _finish(machine: Machine, steps: Sequence[Step]) -> None:
    for step in steps:
        outcome = machine.run(step.command)
        match step:
            case Flush():
                continue
            case Install() | Sweep():
                if outcome.status != 0:
                    raise _failure(step.command.arguments[0], outcome.error)
            case _:
                assert_never(step)


def _survey_or_raise(machine: Machine) -> dict[Tool, Present]:
    tools = find_tools(machine)
    if not tools:
        raise _none_worked(Choice.AUTO, [])
    seen = survey(machine, tools)
    unseen = _unseen(seen)
    if len(unseen) == len(seen):
        tool, why = unseen[0]
        raise _failure(tool.program, why)
    return seen


def _unseen(seen: Mapping[Tool, Present]) -> list[tuple[Tool, str]]:
    return [(tool, present.why) for tool, present in seen.items() if isinstance(present, Unknown)]


def _blind_spots(seen: Mapping[Tool, Present]) -> tuple[str, ...]:
    return tuple(f"{tool.program} could not list its rules ({why})" for tool, why in _unseen(seen))


def _no_flush(rule: Rule) -> str:
    return f"no conntrack on PATH: connections already tracked to {rule.metadata_ip} are not redirected"


def _failure(program: str, error: str) -> WispError:
    problem = f"{program} failed ({one_line(error)})"
    if not is_refusal(error):
        return ToolError(problem, hint="see `wisp redirect plan` for what is run, and try --backend")
    return PrivilegeError(
        problem,
        hint="add the capability NET_ADMIN to the container (iptables-legacy needs NET_RAW too)",
    )


def _none_worked(choice: Choice, failures: list[str]) -> ToolError:
    if failures:
        hint = "load the kernel module nf_tables or iptable_nat; see docs/reference/redirect.md"
        return ToolError("; ".join(failures), hint=hint)
    missing = "neither nft nor iptables" if choice is Choice.AUTO else f"no {choice.value}"
    return ToolError(f"{missing} found on PATH", hint="apt-get install nftables, or use an image that has it")


def find_tools(machine: Machine) -> tuple[Tool, ...]:
    """Return at most one tool for each backend, by preference: nft, the variant that `iptables` is, then the others."""
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
    """Return which redirect each tool reports."""
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
    return Absent() if "No such file or directory" in outcome.error else _unknown(outcome)


def _error_of(machine: Machine, tool: Tool, outcome: Outcome) -> str:
    """Return why `tool` failed. iptables-legacy-restore does not say why it cannot open the table; -save does."""
    if tool.backend is not Backend.IPTABLES_LEGACY:
        return outcome.error
    return machine.run(Command((f"{tool.program}-save", "-t", "nat"))).error or outcome.error


def _unknown(outcome: Outcome) -> Unknown:
    return Unknown(one_line(outcome.error))


def one_line(error: str) -> str:
    """Return a tool's error output as one line."""
    return " ".join(error.split()) or "it did not say why"
