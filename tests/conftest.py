"""What every test shares: in CI a test that cannot run is a failure, not a skip.

Hypothesis looks modestly far by default, and a hundred times further with `--hypothesis-profile=nightly`. A deadline
for one example would only measure the machine.
"""

import os
from collections.abc import Generator

import pluggy
import pytest
from hypothesis import settings

settings.register_profile("modest", deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile("modest")

NOTHING_IS_SKIPPED = os.environ.get("CI") == "true"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Turn a skip into a failure where `CI=true`: there, everything a test needs is installed first."""
    outcome = yield
    report = outcome.get_result()
    if NOTHING_IS_SKIPPED and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {item.nodeid}: {report.longrepr}"
