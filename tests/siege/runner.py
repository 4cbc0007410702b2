"""Run one case: the attack in a separate process, genuine traffic meanwhile, and the checks at the end."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.siege.attacker import AT_FULL_STRENGTH
from tests.siege.case import Case
from tests.siege.cgroup import watched
from tests.siege.targets import Target, descriptors
from tests.siege.witness import Witness, witnessing
from tests.support.waiting import PATIENCE, wait_until

MOST_MEMORY = 110.0
"""In MB of 1,000,000 bytes. The limit, 128 MiB, is 134 MB."""
ROUNDS = 3
"""How often each genuine act must succeed while the attack is at full strength."""
_SPARE_DESCRIPTORS = 8
"""Open files that may come and go without an attack: persistent connections, the API server's, the child's."""


class Outcome(NamedTuple):
    """How a case went; memory in MB."""

    genuine: int
    probes: int
    peak: float
    attackers: dict[str, int]


class Attack:
    """A running attack."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def await_full_strength(self) -> None:
        """Wait until every attacker is at work."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip() == AT_FULL_STRENGTH, f"the attack ended early: {line}"

    def stop(self) -> dict[str, int]:
        """End the attack; return how many of its requests had which outcome."""
        output, _ = self._process.communicate("", PATIENCE)
        assert self._process.returncode == 0, f"the attack failed: {output}"
        outcomes: dict[str, int] = json.loads(output.splitlines()[-1])
        return outcomes


@contextmanager
def _attacking(group: str, name: str, target: Target) -> Iterator[Attack]:
    command = [sys.executable, "-m", "tests.siege.attacker", group, name, *map(str, target.ports)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Attack(process)
        finally:
            process.kill()


def withstand(target: Target, group: str, name: str, case: Case) -> Outcome:
    """Run the attack; fail unless genuine clients are served, memory is bounded, and the target recovers."""
    for act in target.acts():
        act.perform()  # persistent connections are open by now, and tokens are cached
    open_before, kills_before = descriptors(target), target.group.out_of_memory_kills()
    with (
        watched(target.group) as memory,
        case.around(target),
        witnessing(target.acts()) as witness,
        _attacking(group, name, target) as attack,
    ):
        attack.await_full_strength()
        _await_rounds(witness, target)
        attackers = attack.stop()
    _check_alive(target, kills_before)
    assert not witness.failures, _failure_report(witness, attackers)
    peak = memory.value / 1e6
    assert peak < MOST_MEMORY, f"{peak:.0f} MB at the peak, {attackers}"
    _check_answers(case, attackers)
    spare = _SPARE_DESCRIPTORS + target.kept_connections
    wait_until(lambda: descriptors(target) <= open_before + spare, "the attackers' connections are closed")
    with witnessing(target.acts()) as witness_of_recovery:
        _await_rounds(witness_of_recovery, target)
    _check_alive(target, kills_before)
    assert not witness_of_recovery.failures, _failure_report(witness_of_recovery, attackers)
    probes = witness.succeeded["probe"]
    return Outcome(witness.succeeded.total() - probes, probes, peak, attackers)


def _await_rounds(witness: Witness, target: Target) -> None:
    since = witness.succeeded.copy()
    wait_until(
        lambda: witness.has_seen(since, ROUNDS) or target.process.poll() is not None,
        "genuine clients are served during the attack",
    )


def _check_alive(target: Target, kills_before: int) -> None:
    kills = target.group.out_of_memory_kills() - kills_before
    assert not kills, f"the kernel killed {kills} processes of the group for want of memory"
    status = target.process.poll()
    assert status is None, f"the process ended with status {status}; its last words:\n{target.last_words()}"


def _check_answers(case: Case, attackers: dict[str, int]) -> None:
    unexpected = attackers.keys() - case.answers - case.tolerated
    allowed = sorted(case.answers | case.tolerated)
    assert not unexpected, f"attackers were answered {attackers}, which may be {allowed}"
    seen = case.answers & attackers.keys()
    assert seen or not case.answers, f"attackers were answered {attackers}, and not once {sorted(case.answers)}"


def _failure_report(witness: Witness, attackers: dict[str, int]) -> str:
    served = ", ".join(f"{count} {kind}" for kind, count in witness.succeeded.items())
    return "\n".join(["genuine clients were not served:", *witness.failures, f"served: {served}", str(attackers)])
