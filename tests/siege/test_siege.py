"""Webhook, gateway and sidecar, in 128 MiB each, serve genuine clients while attacked (docs/reference/siege.md)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.siege.cases import GROUPS
from tests.siege.conftest import SharedTarget, note
from tests.siege.runner import withstand
from tests.support.needs import MEMORY_GROUPS

Record = Callable[[str, object], None]
pytestmark = [pytest.mark.siege, pytest.mark.needs(MEMORY_GROUPS)]


@pytest.mark.parametrize("name", GROUPS["webhook"])
def test_webhook_withstands(
    name: str, webhook: SharedTarget[Any], record_property: Callable[[str, object], None]
) -> None:
    """Every genuine review and probe succeeds, the process survives within its memory, and it recovers."""
    _withstand("webhook", name, webhook, record_property)


@pytest.mark.parametrize("name", GROUPS["gateway"])
def test_gateway_withstands(
    name: str, gateway: SharedTarget[Any], record_property: Callable[[str, object], None]
) -> None:
    """Every genuine caller, new ones included, gets its token; the process survives and recovers."""
    _withstand("gateway", name, gateway, record_property)


@pytest.mark.parametrize("name", GROUPS["sidecar"])
def test_sidecar_withstands(
    name: str, sidecar: SharedTarget[Any], record_property: Callable[[str, object], None]
) -> None:
    """Every genuine token request and probe succeeds, the process survives within its memory, and it recovers."""
    _withstand("sidecar", name, sidecar, record_property)


def _withstand(group: str, name: str, shared: SharedTarget[Any], record: Record) -> None:
    case = GROUPS[group][name]
    try:
        outcome = withstand(shared.target(), group, name, case)
    except BaseException:
        shared.discard()
        raise
    note(record, f"{group}: {name}", outcome)
