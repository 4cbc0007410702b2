"""The shell of the redirect: finds tools, reads what is present, asks the plan, runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from wisp.base.errors import PrivilegeError, ToolError, WispError
from wisp.redirect.host import Machine
from wisp.redirect.plan import (
    DEFAULT_TOOL,
    Choice,
    Flush,
    Install,
    Step,
    Sweep,
    Tool,
    candidates,
    plan_down,
    plan_up,
)
from wisp.redirect.present import is_refusal
from wisp.redirect.rule import Altered, InForce, Present, Rule, Unknown
from wisp.redirect.survey import complaint_of, find_tools, one_line, survey


@dataclass(frozen=True, slots=True)
class Done:
    """What `up` or `down` did with which tools, and what is worth a note on standard error."""

    tools: tuple[Tool, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """What `up` would run, and what is worth a note on standard error."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The redirects in force, by tool, and what is worth a note on standard error."""

    redirects: tuple[tuple[Tool, Rule], ...]
    notes: tuple[str, ...]


def up(machine: Machine, rule: Rule, choice: Choice) -> Done:
    """Put `rule` in force with the first tool from which the kernel takes it.

    A tool that fails has changed nothing, so the next is tried; a refusal for want of a capability ends it at once.
    Raises PrivilegeError for that; ToolError when no tool is found, all failed, or a leftover cannot be removed.
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
        failure = _failure(tool.program, complaint_of(machine, tool, outcome))
        if isinstance(failure, PrivilegeError):
            raise failure
        failures.append(failure.problem)
    raise _none_worked(choice, failures)


def plan(machine: Machine, rule: Rule, choice: Choice) -> Planned:
    """Say what `up` would run, should the first tool do; without any tool, what it would run with nft.

    Changes nothing. Needs no capability, but without one cannot see what is present, and says so in a note.
    """
    tools = find_tools(machine)
    seen = survey(machine, tools)
    allowed = candidates(tools, choice)
    notes = [] if allowed else [f"--backend {choice.value} finds no tool on PATH; this is what nft would be given"]
    unseen = [f"{tool.program}: {why}" for tool, why in _unseen(seen)]
    notes += [f"planned as if nothing were present, which could not be seen ({'; '.join(unseen)})"] if unseen else []
    tool = allowed[0] if allowed else DEFAULT_TOOL
    return Planned(plan_up(tool, rule, seen, conntrack=machine.has("conntrack")), tuple(notes))


def down(machine: Machine) -> Done:
    """Remove what any backend holds; nothing there is a success.

    Raises PrivilegeError or ToolError when nothing can be looked at or a removal fails.
    """
    seen = _survey_or_raise(machine)
    _finish(machine, plan_down(seen))
    held = (tool for tool, present in seen.items() if isinstance(present, InForce | Altered))
    return Done(tuple(held), _blind_spots(seen))


def show(machine: Machine) -> Shown:
    """Say what is in force, which may be nothing.

    Raises WispError when something altered is there, PrivilegeError or ToolError when nothing can be looked at.
    """
    seen = _survey_or_raise(machine)
    for tool, present in seen.items():
        if isinstance(present, Altered):
            raise WispError(
                f"what {tool.backend.value} holds under wisp's name is not what `wisp redirect up` puts there",
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
                    raise _failure(step.command.arguments[0], outcome.complaint)
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
    return tuple(f"{tool.program} could not be looked at ({why})" for tool, why in _unseen(seen))


def _no_flush(rule: Rule) -> str:
    return f"no conntrack on PATH: connections already tracked to {rule.metadata_ip} stay as they are"


def _failure(program: str, complaint: str) -> WispError:
    problem = f"{program} failed ({one_line(complaint)})"
    if not is_refusal(complaint):
        return ToolError(problem, hint="see `wisp redirect plan` for what is run, and try --backend")
    return PrivilegeError(
        problem,
        hint="the kernel wants CAP_NET_ADMIN here (iptables-legacy CAP_NET_RAW too): add NET_ADMIN to the container",
    )


def _none_worked(choice: Choice, failures: list[str]) -> ToolError:
    if failures:
        return ToolError("; ".join(failures), hint="the kernel needs nf_tables or iptable_nat; see docs/redirect.md")
    wanted = "neither nft nor iptables" if choice is Choice.AUTO else f"no {choice.value}"
    return ToolError(f"{wanted} found on PATH", hint="apt-get install nftables, or use an image that has it")
