"""A web page in a real browser gets neither tokens nor metadata from a sidecar on the same machine."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.needs import NAMESPACES, need
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.system


@pytest.fixture(name="found", scope="module")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Attack once, and return what the page could read."""
    need("chromium", NAMESPACES, "unshare", "ip")
    folder = tmp_path_factory.mktemp("rebinding")
    program = [sys.executable, "-m", "tests.system.rebinding", str(folder)]
    done = subprocess.run(
        ["unshare", "--net", "--mount", *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_attack_succeeds_on_a_server_without_checks(found: Any) -> None:
    """The control: the page reaches the server as its own origin and may set the headers of a workload."""
    for answer in found["control"].values():
        assert answer["status"] == 200
        headers = json.loads(answer["body"])
        assert headers["host"] == "rebind.test:8001"
        assert (headers["metadata"], headers["x-identity-header"]) == ("true", "x")
    assert "origin" not in json.loads(found["control"]["token"]["body"])


@pytest.mark.parametrize("target", ["token", "token by POST", "instance", "metrics", "health"])
def test_rebinding_page_gets_neither_tokens_nor_metadata(found: Any, target: str) -> None:
    """Every route answers that the request is for another host; a workload gets its token at the same time."""
    assert found["workload"] == 200
    answer = found["sidecar"][target]
    assert answer["status"] == 421
    assert json.loads(answer["body"])["error"] == "misdirected_request"
    assert "access_token" not in answer["body"]
    assert found["node heard"] == 0


def test_request_of_another_origin_is_rejected_by_its_headers(found: Any) -> None:
    """The host is right, but Chromium sends the origin of the page."""
    (event,) = found["across"]
    assert event["status"] == 403
