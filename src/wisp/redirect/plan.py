"""Read which redirect is present, and decide what to run so that the requested one is in force, or removed.

nft: one transaction on a table of our own. iptables: one transaction on the nat table, in a chain of our own.
docs/decisions/0002-redirect.md has the reasons.
"""

import enum
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import assert_never

from wisp.base.errors import SettingError
from wisp.redirect.script import NFT_CLEAR, PRIORITY, conntrack_arguments, nft_table, sentence

MAX_PORT = 2**16 - 1
MAX_UID = 2**32 - 2  # 2^32-1 means "no user" to the kernel (user_namespaces(7))


class Backend(enum.Enum):
    """The kernel interface that holds the rule. The two iptables are separate and do not see each other's rules."""

    NFT = "nft"
    IPTABLES_NFT = "iptables-nft"
    IPTABLES_LEGACY = "iptables-legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """TCP to `metadata_ip`:`metadata_port` goes to 127.0.0.1:`proxy_port`, unless the socket is `proxy_uid`'s.

    Raises SettingError, naming the flag, for a port outside 1-65535 or a uid outside 0-4294967294.
    """

    proxy_port: int
    proxy_uid: int
    metadata_ip: IPv4Address
    metadata_port: int

    def __post_init__(self) -> None:
        _check("--proxy-port", self.proxy_port, 1, MAX_PORT)
        _check("--proxy-uid", self.proxy_uid, 0, MAX_UID)
        _check("--metadata-port", self.metadata_port, 1, MAX_PORT)

    def __str__(self) -> str:
        return sentence(self.proxy_port, self.proxy_uid, str(self.metadata_ip), self.metadata_port)


def parse_address(text: str) -> IPv4Address:
    """Read `--metadata-ip`. Raise SettingError if it is not a dotted IPv4 address."""
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise SettingError(
            f"--metadata-ip is {text!r}, which is not an IPv4 address", hint="give one like 169.254.169.254"
        ) from error


def _check(flag: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SettingError(f"{flag} is {value}", hint=f"give a whole number from {least} to {most}")


@dataclass(frozen=True, slots=True)
class Absent:
    """No redirect of wisp is present."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The complete rule is present.

    `jumps`: how many times the OUTPUT chain of iptables jumps to it (0 with nft). `outdated`: an earlier version
    installed it, so a service mesh may take the traffic first.
    """

    rule: Rule
    jumps: int = 0
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class Altered:
    """A table or chain has the name of ours, but not the content that `up` installs; `jumps` as in `InForce`."""

    jumps: int = 0


@dataclass(frozen=True, slots=True)
class Unknown:
    """The tool could not list its rules; `why` is its error text on one line."""

    why: str


Present = Absent | InForce | Altered | Unknown


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
    """A program found on PATH; iptables means its -save and -restore. `lock`: a lock file other than the default."""

    backend: Backend
    program: str
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run: arguments, standard input, and environment variables to set."""

    arguments: tuple[str, ...]
    script: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Install:
    """Install the rule. It must succeed; if it fails, nothing has changed."""

    command: Command


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove an earlier redirect from a backend. It must succeed."""

    command: Command


@dataclass(frozen=True, slots=True)
class Flush:
    """Delete connections tracked before the rule. It may fail: it exits with 1 if there are none (conntrack(8))."""

    command: Command


Step = Install | Sweep | Flush
DEFAULT_TOOL = Tool(Backend.NFT, "nft")


def candidates(tools: Sequence[Tool], choice: Choice) -> tuple[Tool, ...]:
    """Return the tools that `--backend` allows, in the order in which `up` tries them."""
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
    """Install `rule` with `tool`, then remove redirects that other tools hold: there is a rule at every moment.

    `seen` is what each tool on PATH reports; `conntrack` says whether that program is installed.
    """
    others = [remove(other, present) for other, present in seen.items() if other.backend is not tool.backend]
    flush = Flush(Command(conntrack_arguments(str(rule.metadata_ip), rule.metadata_port)))
    return (
        Install(_install(tool, rule, seen.get(tool, Absent()))),
        *(Sweep(command) for command in others if command),
        *((flush,) if conntrack else ()),
    )


def plan_down(seen: Mapping[Tool, Present]) -> tuple[Sweep, ...]:
    """Remove the redirects that any tool reports. No redirect, no step."""
    commands = (remove(tool, present) for tool, present in seen.items())
    return tuple(Sweep(command) for command in commands if command)


def remove(tool: Tool, present: Present) -> Command | None:
    """Return the command that removes what `tool` reports; None for nothing, and where it could not be listed."""
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
    """Return a shell script that does what `steps` do."""
    return "".join(_shell_line(step) for step in steps)


def _install(tool: Tool, rule: Rule, present: Present) -> Command:
    if tool.backend is Backend.NFT:
        table = nft_table(rule.proxy_port, rule.proxy_uid, str(rule.metadata_ip), rule.metadata_port)
        return _nft(NFT_CLEAR + table)
    # With --noflush, naming a chain creates or empties it. The jump is the first rule, before any catch-all.
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


def _shell_line(step: Step) -> str:
    command = step.command
    settings = [f"{name}={shlex.quote(value)}" for name, value in command.environment]
    line = " ".join([*settings, shlex.join(command.arguments)])
    if isinstance(step, Flush):
        line += " || true"
    return f"{line} <<'END'\n{command.script}END\n" if command.script else f"{line}\n"


_EARLIER_PRIORITY = -100
"""Priority of the nft chain of earlier versions, which had no rule for the sidecar's own connections."""
_IPTABLES_METADATA = rf"-A {CHAIN} -d (?P<ip>[\d.]+)(?:/32)? -p tcp -m tcp --dport (?P<port>\d{{1,5}}) -m owner"
_IPTABLES_SIDECAR = re.compile(
    rf"{_IPTABLES_METADATA} --uid-owner (?P<uid>\d{{1,10}}) -j DNAT --to-destination (?P=ip)", re.ASCII
)
_IPTABLES_REDIRECT = re.compile(
    rf"{_IPTABLES_METADATA} ! --uid-owner (?P<uid>\d{{1,10}}) -j REDIRECT --to-ports (?P<to>\d{{1,5}})", re.ASCII
)
_REFUSALS = ("Operation not permitted", "Permission denied", "you must be root")


def is_refusal(error: str) -> bool:
    """Return whether a tool's error output means EPERM or EACCES (in the C locale)."""
    return any(text in error for text in _REFUSALS)


def iptables_variant(version: str) -> Backend:
    """Return which iptables printed this `--version`. Before 1.8 there was only the legacy one, without brackets."""
    return Backend.IPTABLES_NFT if "(nf_tables)" in version else Backend.IPTABLES_LEGACY


def parse_nft(listing: str) -> Present:
    """Read `nft -j list table ip wisp` (libnftables-json(5)). Anything but exactly our rules is Altered, no error."""
    try:
        objects = json.loads(listing)["nftables"]
        kinds = [(kind, body) for entry in objects for kind, body in entry.items() if kind != "metainfo"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Altered()
    match kinds:
        case [
            ("table", _),
            ("chain", {"type": "nat", "hook": "output", "prio": int(priority)}),
            *sidecar,
            ("rule", {"expr": expressions}),
        ]:
            rule = _nft_redirect(expressions)
        case _:
            return Altered()
    if rule and priority == PRIORITY and len(sidecar) == 1 and _is_for_sidecar(sidecar[0], rule):
        return InForce(rule)
    return InForce(rule, outdated=True) if rule and priority == _EARLIER_PRIORITY and not sidecar else Altered()


def _nft_redirect(expressions: object) -> Rule | None:
    match expressions:
        case [*matches, {"redirect": {"port": int(to)}}]:
            found = _nft_metadata(matches, "!=")
            return _rule(*found, to) if found else None
        case _:
            return None


def _is_for_sidecar(entry: object, rule: Rule) -> bool:
    """Return whether the entry maps the sidecar's own connections onto themselves, so that later chains skip them."""
    match entry:
        case ("rule", {"expr": [*matches, {"dnat": {"addr": str(address), **rest}}]}):
            expected = (str(rule.metadata_ip), rule.metadata_port, rule.proxy_uid)
            return (
                rest in ({}, {"family": "ip"}) and address == expected[0] and _nft_metadata(matches, "==") == expected
            )
        case _:
            return False


def _nft_metadata(matches: list[object], uid_operator: str) -> tuple[str, int, int] | None:
    """Return the address, port and uid that a rule matches."""
    match matches:
        case [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": str(ip)}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": int(port)}},
            {"match": {"op": operator, "left": {"meta": {"key": "skuid"}}, "right": int(uid)}},
        ] if operator == uid_operator:
            return ip, port, uid
        case _:
            return None


def parse_iptables(listing: str) -> Present:
    """Read `iptables-save -t nat` of either iptables; anything but exactly our rules is Altered, never an error."""
    lines = listing.splitlines()
    if not any(line.startswith(f":{CHAIN} ") for line in lines):
        return Absent()
    jumps = lines.count(JUMP)
    ours = [line for line in lines if line.startswith(f"-A {CHAIN} ")]
    *sidecar, redirect = ours or [""]
    found = _IPTABLES_REDIRECT.fullmatch(redirect)
    rule = _rule(found["ip"], int(found["port"]), int(found["uid"]), int(found["to"])) if found else None
    if rule is None or jumps != 1 or not _are_for_sidecar(sidecar, rule):
        return Altered(jumps)
    return InForce(rule, jumps, outdated=not sidecar)


def _are_for_sidecar(lines: list[str], rule: Rule) -> bool:
    """Return whether there is one rule for the sidecar's own connections, or none as in an earlier version."""
    if not lines:
        return True
    found = _IPTABLES_SIDECAR.fullmatch(lines[0])
    expected = (str(rule.metadata_ip), rule.metadata_port, rule.proxy_uid)
    return len(lines) == 1 and found is not None and (found["ip"], int(found["port"]), int(found["uid"])) == expected


def _rule(ip: str, port: int, uid: int, to: int) -> Rule | None:
    try:
        return Rule(proxy_port=to, proxy_uid=uid, metadata_ip=IPv4Address(ip), metadata_port=port)
    except (SettingError, AddressValueError):
        return None
