"""An hour and a day under load with an Entra that fails for minutes: no client fails, and memory is bounded."""

import json
import subprocess
import sys

import pytest

from tests.contract.faults.scripted_entra import HOUR
from tests.contract.faults.simulated_day import Report, Simulation
from tests.support.paths import ROOT
from wisp.entra.freshness import MARGIN


def check(report: Report) -> None:
    """Fail if a client noticed an outage."""
    assert report.failed == 0
    assert report.least_left > MARGIN
    assert report.longest_wait < 3.0, "the first clients wait for the first tokens, and for nothing afterwards"
    assert report.waited < 100


@pytest.mark.system
@pytest.mark.parametrize(
    "lifetime, seed",
    [(3600, 0), (3600, 1), (86399, 2)],
    ids=["tokens of an hour", "another hour", "tokens of a day"],
)
def test_an_hour_with_every_outage_keeps_clients_served(lifetime: int, seed: int) -> None:
    report = Simulation(lifetime, seed).live(1.2)
    check(report)
    assert report.asked > 7_000


@pytest.mark.long
@pytest.mark.parametrize("lifetime", [3600, 86399], ids=["tokens of an hour", "tokens of a day"])
def test_a_day_leaves_less_than_1_mb_behind(lifetime: int) -> None:
    """Of memory, besides that no client notices an outage."""
    command = [sys.executable, "-m", "tests.contract.faults.simulated_day", "24", str(lifetime)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = Report(**json.loads(ended.stdout))
    check(report)
    assert report.asked > 150_000
    assert report.mistakes > 0
    assert abs(report.memory_at_the_end - report.memory_after_an_hour) < 1.0, report


def test_the_script_has_every_condition_and_no_outage_over_ten_minutes() -> None:
    assert {phase.condition for phase in HOUR} == {"up", "slow", "down", "throttling", "hanging", "failing"}
    bad = [phase.seconds for phase in HOUR if phase.condition not in ("up", "slow")]
    assert max(bad) == 600.0
