"""What every test shares: a test that cannot run on this machine is skipped with a remedy, and fails in CI.

Hypothesis tries a hundred examples by default, and a hundred times more with `--hypothesis-profile=nightly`. In CI it
tries the same examples every time: a change is judged by what it changes, and new finds are for developers and the
nightly run. Its deadline and its check for slow examples are off, because they measure the machine.
"""

import os
import signal
from collections import Counter
from collections.abc import Generator, Iterable

import pluggy
import pytest
from hypothesis import HealthCheck, settings

from tests.support.needs import Missing, MissingSkip, need

_MISSING = "missing"
IN_CI = os.environ.get("CI") == "true"

_ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("modest", _ANY_SPEED)
settings.register_profile("repeatable", _ANY_SPEED, derandomize=True)
settings.register_profile("nightly", _ANY_SPEED, max_examples=10_000)
settings.load_profile("repeatable" if IN_CI else "modest")


def pytest_configure() -> None:
    """Have what the tests start hear signals, which a background job ignores with all that it starts (nohup, `... &`).

    What a handler is set for is not ignored in another program; here it is as good as that.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """Run two tests for each processor: half of them mostly wait for processes and time-outs."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked with something that this machine lacks."""
    for marker in item.iter_markers("needs"):
        need(*marker.args)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Note what a skipped test lacked, and turn its skip into a failure in CI, where everything is installed first."""
    outcome = yield
    report = outcome.get_result()
    if call.excinfo is not None and isinstance(call.excinfo.value, MissingSkip):
        report.user_properties.extend((_MISSING, "\t".join(each)) for each in call.excinfo.value.missing)
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {item.nodeid}: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each thing that this machine lacks, with what provides it."""
    skipped = terminalreporter.stats.get("skipped", ())
    if skipped:
        terminalreporter.section("tests skipped because this machine lacks something")
        for line in summary(skipped):
            terminalreporter.line(line)


def summary(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """Return one line for each thing that skipped tests lacked, beginning with what most of them lacked."""
    counted = Counter(missing for report in skipped for missing in _missing(report))
    width = max(len(each.name) for each in counted)
    return [f"{each.name:<{width}}  {count:>4} skipped    {each.hint}" for each, count in counted.most_common()]


def _missing(report: pytest.TestReport) -> list[Missing]:
    noted = [Missing(*str(value).split("\t")) for name, value in report.user_properties if name == _MISSING]
    return noted or [Missing("(other)", f"{report.nodeid}: {report.longreprtext}")]
