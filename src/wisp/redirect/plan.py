"""What to run so that the wanted redirect is in force, or gone, given what is present; runs and reads nothing itself.

nft: one transaction on a table of our own. iptables: one transaction on the nat table, in a chain of our own.
Why these and not others: docs/decisions/0002-redirect.md.
"""

import enum
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from wisp.redirect.rule import Absent, Altered, Backend, InForce, Present, Rule, Unknown
from wisp.redirect.scripts import NFT_CLEAR, conntrack_arguments, nft_table

CHAIN = "WISP"  # iptables: a chain of the nat table
JUMP = f"-A OUTPUT -j {CHAIN}"  # as iptables-save prints it
_LOCK_WAIT = "5"  # seconds for another iptables to finish; both variants take -w, the nft one has no lock


class Choice(enum.Enum):
    """The values of `--backend`."""

    AUTO = "auto"
    NFT = "nft"
    IPTABLES = "iptables"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program found on PATH; iptables stands for its -save and -restore. `lock`: another lock file than its own."""

    backend: Backend
    program: str
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One program run: its arguments, its standard input, and what is set in its environment."""

    arguments: tuple[str, ...]
    script: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Install:
    """Put the rule in force. It must succeed; failed, it has left everything as it was."""

    command: Command


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove what a backend holds from before. It must succeed."""

    command: Command


@dataclass(frozen=True, slots=True)
class Flush:
    """Forget connections tracked before the rule. It may fail: it also says 1 when there was none (conntrack(8))."""

    command: Command


Step = Install | Sweep | Flush
DEFAULT_TOOL = Tool(Backend.NFT, "nft")


def candidates(tools: Sequence[Tool], choice: Choice) -> tuple[Tool, ...]:
    """Keep the tools that `--backend` allows, in the order in which `up` tries them (that of `tools`)."""
    match choice:
        case Choice.AUTO:
            return tuple(tools)
        case Choice.NFT:
            return tuple(tool for tool in tools if tool.backend is Backend.NFT)
        case Choice.IPTABLES:
            return tuple(tool for tool in tools if tool.backend is not Backend.NFT)
        case _:
            assert_never(choice)


def plan_up(tool: Tool, rule: Rule, seen: Mapping[Tool, Present], *, conntrack: bool) -> tuple[Step, ...]:
    """Put `rule` in force with `tool`, then sweep the other tools' leftovers: at no moment is there no rule.

    `seen` says what each tool found on PATH sees now; `conntrack` whether that tool is there.
    """
    others = [remove(other, present) for other, present in seen.items() if other.backend is not tool.backend]
    flushes = (Flush(_flush(rule)),) if conntrack else ()
    return (
        Install(_install(tool, rule, seen.get(tool, Absent()))),
        *(Sweep(command) for command in others if command),
        *flushes,
    )


def plan_down(seen: Mapping[Tool, Present]) -> tuple[Sweep, ...]:
    """Remove what every tool sees; nothing to do is no step."""
    commands = (remove(tool, present) for tool, present in seen.items())
    return tuple(Sweep(command) for command in commands if command)


def remove(tool: Tool, present: Present) -> Command | None:
    """Remove what `tool` sees; None when that is nothing, or could not be looked at."""
    match present:
        case Absent() | Unknown():
            return None
        case InForce() | Altered():
            if tool.backend is Backend.NFT:
                return _nft(NFT_CLEAR)
            return _restore(tool, *_unjump(present), f"-F {CHAIN}", f"-X {CHAIN}")
        case _:
            assert_never(present)


def as_shell(steps: Sequence[Step]) -> str:
    """Write `steps` as a shell script that does the same."""
    return "".join(_shell_line(step) for step in steps)


def _install(tool: Tool, rule: Rule, present: Present) -> Command:
    if tool.backend is Backend.NFT:
        table = nft_table(rule.proxy_port, rule.proxy_uid, str(rule.metadata_ip), rule.metadata_port)
        return _nft(NFT_CLEAR + table)
    # Naming a chain with --noflush empties it or makes it; the jump goes first, before another's catch-all.
    return _restore(tool, f":{CHAIN} - [0:0]", *_iptables_rules(rule), *_unjump(present), f"-I OUTPUT 1 -j {CHAIN}")


def _nft(script: str) -> Command:
    return Command(("nft", "-f", "-"), script)


def _restore(tool: Tool, *lines: str) -> Command:
    script = "\n".join(("*nat", *lines, "COMMIT", ""))
    environment = (("XTABLES_LOCKFILE", tool.lock),) if tool.lock else ()
    return Command((f"{tool.program}-restore", "--noflush", "-w", _LOCK_WAIT), script, environment)


def _iptables_rules(rule: Rule) -> tuple[str, str]:
    metadata = f"-A {CHAIN} -d {rule.metadata_ip}/32 -p tcp -m tcp --dport {rule.metadata_port} -m owner"
    return (
        f"{metadata} --uid-owner {rule.proxy_uid} -j DNAT --to-destination {rule.metadata_ip}",
        f"{metadata} ! --uid-owner {rule.proxy_uid} -j REDIRECT --to-ports {rule.proxy_port}",
    )


def _unjump(present: Present) -> list[str]:
    jumps = present.jumps if isinstance(present, InForce | Altered) else 0
    return [f"-D OUTPUT -j {CHAIN}"] * jumps


def _flush(rule: Rule) -> Command:
    return Command(conntrack_arguments(str(rule.metadata_ip), rule.metadata_port))


def _shell_line(step: Step) -> str:
    command = step.command
    settings = [f"{name}={shlex.quote(value)}" for name, value in command.environment]
    line = " ".join([*settings, shlex.join(command.arguments)])
    if isinstance(step, Flush):
        line += " || true"
    return f"{line} <<'END'\n{command.script}END\n" if command.script else f"{line}\n"
