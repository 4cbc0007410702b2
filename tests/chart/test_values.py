"""Values, schema and documentation of the chart agree; these tests need no Helm."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.chart.cases import CASES, CHART, TENANT, VALUES
from tests.support.paths import ROOT
from wisp import __version__
from wisp.admission.policy import REDIRECT_RESOURCES, SIDECAR_RESOURCES, Resources
from wisp.azure import CLOUD_ALIASES, CLOUDS

DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
FREE = frozenset({"resources", "nodeSelector", "gateway.resources"})
"""Values with content of Kubernetes' types."""


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix + name not in FREE:
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.fixture(name="validate", scope="module")
def _validate() -> Callable[[object], None]:
    """Return a function that raises an error for values that the schema rejects."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 -- it takes two seconds, which only these tests need

    Draft202012Validator.check_schema(SCHEMA)
    return Draft202012Validator(SCHEMA).validate


@pytest.mark.parametrize("case", CASES)
def test_test_values_match_the_schema(case: str, validate: Callable[[object], None]) -> None:
    """The validator is not Helm's."""
    values = {**DEFAULTS, "azureTenantID": TENANT, **(yaml.safe_load((VALUES / f"{case}.yaml").read_text()) or {})}
    if case == "single":  # null takes a default away, in Helm alone
        values["proxy"] = {"resources": {"limits": values["proxy"]["resources"]["limits"]}}
    validate(values)


def test_schema_and_defaults_have_the_same_values() -> None:
    assert set(SCHEMA["properties"]) - {"global"} == set(DEFAULTS)


def test_resources_of_injected_containers_are_the_defaults_of_the_command() -> None:
    for name, usual in (("proxy", SIDECAR_RESOURCES), ("redirect", REDIRECT_RESOURCES)):
        resources = DEFAULTS[name]["resources"]
        flat = {
            f"{part}_{kind}": resources[f"{kind}s"][part] for part in ("cpu", "memory") for kind in ("request", "limit")
        }
        assert Resources(**flat) == usual


def test_clouds_and_aliases_are_those_of_the_command() -> None:
    template = (CHART / "templates/_reference.tpl").read_text()
    clouds, aliases = (
        re.findall(r'"(\w+)"', line)
        for line in re.findall(r"^\{\{- \$(?:clouds|spellings) := list (.*)", template, re.MULTILINE)
    )
    assert clouds == [cloud.name for cloud in CLOUDS]
    assert aliases == list(CLOUD_ALIASES)


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_installation_guide_lists_every_value_with_its_default() -> None:
    """They are in the order of values.yaml."""
    text = (ROOT / "docs/how-to/install.md").read_text()
    rows = re.findall(r"^\| `([A-Za-z.]+)` \| `(.*?)` \|", text, re.MULTILINE)
    assert rows == [(name, json.dumps(value)) for name, value in _paths(DEFAULTS)]
