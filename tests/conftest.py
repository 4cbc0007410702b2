"""What every test shares: in CI a test that cannot run is a failure, not a skip.

Hypothesis looks modestly far by default, and a hundred times further with `--hypothesis-profile=nightly`. In CI it
looks at the same examples every time: a change is judged by what it changes, and new finds are for developers and the
night. A deadline for one example would only measure the machine.
"""

import os
import signal
from collections.abc import Generator

import pluggy
import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI") == "true"

settings.register_profile("modest", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile("repeatable" if IN_CI else "modest")


def pytest_configure() -> None:
    """Have what the tests start hear signals, which a background job ignores with all that it starts (nohup, `... &`).

    What a handler is set for is not ignored in another program; here it is as good as that.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Turn a skip into a failure where `CI=true`: there, everything a test needs is installed first."""
    outcome = yield
    report = outcome.get_result()
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {item.nodeid}: {report.longrepr}"
