"""The examples and tables of docs/how-to/testing.md, run and read as they stand."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wisp_local.testing
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE
from wisp_local.cloud.seed import json_schema

pytest_plugins = ["pytester"]


TEXT = (ROOT / "docs/how-to/testing.md").read_text()


CLIENT_ID = "33333333-3333-4333-8333-333333333333"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def _rows(head: str) -> list[list[str]]:
    table = TEXT.partition(f"| {head} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.system
def test_documented_pytest_examples_pass(pytester: pytest.Pytester) -> None:
    conftest, *tests = _blocks("python")
    pytester.makeconftest(conftest)
    for number, source in enumerate(tests):
        pytester.makepyfile(**{f"test_{number}": source})
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


def _shell(script: str, folder: Path) -> str:
    (folder / "cloud.yaml").write_text(_blocks("yaml")[0])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"],
        cwd=folder,
        env={**os.environ, "PATH": path, "XDG_STATE_HOME": str(folder)},
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.system
def test_documented_job_with_wisp_run_passes(tmp_path: Path) -> None:
    assert json.loads(_shell(_blocks("bash")[0], tmp_path))["changed"] is True


@pytest.mark.system
@pytest.mark.needs("curl")
def test_documented_job_with_the_cloud_alone_prints_a_token(tmp_path: Path) -> None:
    """Only the port is changed, to a free one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    output = _shell(_blocks("bash")[1].replace("8443", port), tmp_path)
    assert json.loads(output.splitlines()[-1])["token_type"] == "Bearer"


Schema = dict[str, Any]


def test_documented_keys_are_those_of_the_parser() -> None:
    schema: Schema = json_schema()
    assert _rows("key | required | description") == [list(row) for row in _expected(schema["$defs"], schema)]


def _expected(definitions: Schema, schema: Schema, above: str = "") -> Iterator[tuple[str, str, str]]:
    found = definitions[schema["$ref"].rpartition("/")[2]]
    for name, field in found["properties"].items():
        is_list = field.get("type") == "array"
        path = f"{above}{name}{'[]' if is_list else ''}"
        guid = any("pattern" in option for option in field.get("anyOf", []))
        needed = "yes" if name in found["required"] else ""
        yield f"`{path}`", needed, f"{field['description']}{'; a GUID' if guid else ''}"
        inner = field["items"] if is_list else field
        if "$ref" in inner:
            yield from _expected(definitions, inner, f"{path}.")


def test_documentation_lists_every_fixture() -> None:
    documented = [row[0].strip("`") for row in _rows("fixture | scope | description")]
    assert sorted(documented) == sorted(name for name in wisp_local.testing.__all__ if name.startswith("wisp_"))
