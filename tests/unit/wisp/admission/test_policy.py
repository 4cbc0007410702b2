"""The policy, and the versions and quantities in it."""

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from tests.unit.wisp.admission.pods import POLICY
from wisp.admission.policy import REDIRECT_RESOURCES, SIDECAR_RESOURCES, Resources, parse_quantity, parse_version
from wisp.base.errors import SettingError


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"authority_host": "https://login.test"}, "an https URL ending in /"),
        ({"image_pull_policy": "Sometimes"}, "--image-pull-policy is unknown"),
        ({"proxy_log_level": "loud"}, "--proxy-log-level is unknown"),
        ({"authority_ca": "none"}, "--authority-ca holds no certificate"),
    ],
    ids=str,
)
def test_invalid_policy_cannot_be_created(changes: dict[str, Any], message: str) -> None:
    """The error occurs when the policy is created, not when a pod is admitted."""
    with pytest.raises(SettingError, match=message):
        replace(POLICY, **changes)


@pytest.mark.parametrize(
    "text, version",
    [("1.34", (1, 34)), ("v1.34.2", (1, 34)), ("1.34+", (1, 34)), ("1.34.1-gke.1", (1, 34)), (" 1.34-rc.0", (1, 34))],
)
def test_version_is_parsed(text: str, version: tuple[int, int]) -> None:
    """API servers and people write versions in these forms."""
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "1", "one.two", "1.", "1.99999", "1.x"])
def test_invalid_version_is_refused(text: str) -> None:
    """The error quotes it."""
    with pytest.raises(SettingError, match=re.escape(repr(text))):
        parse_version(text)


@pytest.mark.parametrize(
    "text, amount",
    [
        ("1", 1),
        ("100m", Fraction(1, 10)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("64Mi", 64 << 20),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("2k", 2000),
        ("10u", Fraction(1, 100_000)),
        ("+1", 1),
        ("", None),
        ("-1", None),
        ("1 Gi", None),
        ("1GiB", None),
        ("much", None),
        ("1e999", None),
        (".", None),
    ],
)
def test_quantity_is_parsed_as_kubernetes_parses_it(text: str, amount: Fraction | None) -> None:
    assert parse_quantity(text) == amount


@pytest.mark.parametrize("usual", [SIDECAR_RESOURCES, REDIRECT_RESOURCES], ids=["sidecar", "redirect"])
def test_default_resources_are_complete_and_consistent(usual: Resources) -> None:
    """A ResourceQuota may require any of the four values; requests must not exceed limits."""
    for request, limit in ((usual.cpu_request, usual.cpu_limit), (usual.memory_request, usual.memory_limit)):
        assert request is not None
        assert limit is not None
        assert (parse_quantity(request) or 0) <= (parse_quantity(limit) or 0)
