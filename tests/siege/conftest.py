"""The attacked processes: each serves all cases that leave it healthy. At the end, a table of all cases."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from tests.siege.runner import Outcome
from tests.siege.targets import (
    GatewayTarget,
    SidecarTarget,
    Target,
    WebhookTarget,
    gateway_target,
    sidecar_target,
    webhook_target,
)

_PROPERTY = "siege"
T = TypeVar("T", bound=Target)


class SharedTarget(Generic[T]):
    """The process that the next case attacks: the previous one, or a new one if that was discarded."""

    def __init__(self, start: Callable[[Path], AbstractContextManager[T]], folders: pytest.TempPathFactory) -> None:
        self._start = start
        self._folders = folders
        self._stack = ExitStack()
        self._target: T | None = None

    def target(self) -> T:
        """Return the process, started if necessary."""
        if self._target is None:
            self._target = self._stack.enter_context(self._start(self._folders.mktemp("siege")))
        return self._target

    def discard(self) -> None:
        """End the process."""
        self._target = None
        self._stack.close()


@pytest.fixture(scope="session")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedTarget[WebhookTarget]]:
    """Give the webhook under siege."""
    shared = SharedTarget(webhook_target, tmp_path_factory)
    yield shared
    shared.discard()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedTarget[GatewayTarget]]:
    """Give the gateway under siege."""
    shared = SharedTarget(gateway_target, tmp_path_factory)
    yield shared
    shared.discard()


@pytest.fixture(scope="session")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedTarget[SidecarTarget]]:
    """Give the sidecar under siege."""
    shared = SharedTarget(sidecar_target, tmp_path_factory)
    yield shared
    shared.discard()


def note(record: Callable[[str, object], None], name: str, outcome: Outcome) -> None:
    """Have the table at the end show how a case went."""
    attackers = ", ".join(f"{count:,} {kind}" for kind, count in sorted(outcome.attackers.items()) if count)
    record(_PROPERTY, f"{name:<52} {outcome.genuine:>7} {outcome.probes:>7} {outcome.peak:>7.0f}  {attackers}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of cases that the targets withstood."""
    reports = terminalreporter.stats.get("passed", ())
    lines = [str(value) for report in reports for key, value in report.user_properties if key == _PROPERTY]
    if lines:
        terminalreporter.section("withstood")
        terminalreporter.line(f"{'case':<52} {'genuine':>7} {'probes':>7} {'peak MB':>7}  attackers' requests")
        for line in lines:
            terminalreporter.line(line)
