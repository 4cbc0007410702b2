"""Passing on through a real redirect: the sidecar's own user reaches the node, another only itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import jwt
from tests.needs import need
from tests.redirect.pod import METADATA, NEEDED, PROXY_UID, Pod, network, process, wisp_command

pytestmark = pytest.mark.system

# Answers every GET with the request's path, and ends with its standard input.
_NODE = """
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"node heard": "%b"}' % self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 80), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="inside")
def _inside() -> Iterator[Pod]:
    """Give a pod with the redirect in force, on a node with a metadata service."""
    need(*NEEDED, "curl")
    with network() as (node, made), process(*node.inside, sys.executable, "-c", _NODE, METADATA):
        made.must(*wisp_command("up"))
        yield made


@contextmanager
def sidecar(inside: Pod, folder: Path, uid: int) -> Iterator[None]:
    """Run a sidecar in the pod, as `uid`; the capability only lets it read the interpreter wherever that is."""
    (folder / "token").write_text(jwt(sub="x"))
    capability = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *capability] if uid else []
    environment = {
        **os.environ,
        "AZURE_TENANT_ID": "tenant.example",
        "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"),
        "AZURE_AUTHORITY_HOST": "https://127.0.0.1:1/",
    }
    with subprocess.Popen([*inside.inside, *user, sys.executable, "-m", "wisp.proxy"], env=environment) as started:
        try:
            inside.must(sys.executable, "-m", "wisp.proxy", "--probe")
            yield
        finally:
            started.terminate()


def ask(inside: Pod, path: str) -> tuple[int, dict[str, Any]]:
    """Ask the metadata service as a workload does; return the status and the JSON."""
    url = f"http://{METADATA}{path}"
    said = inside.must("curl", "-sS", "--path-as-is", "-m120", "-HMetadata:true", "-w", "\n%{http_code}", url)
    body, _, status = said.rpartition("\n")
    return int(status), json.loads(body)


def test_the_sidecars_own_user_reaches_the_node(inside: Pod, tmp_path: Path) -> None:
    """What may pass comes from the node's metadata service, what may not from the sidecar."""
    with sidecar(inside, tmp_path, PROXY_UID):
        assert ask(inside, "/metadata/instance?api-version=2021-02-01") == (
            200,
            {"node heard": "/metadata/instance?api-version=2021-02-01"},
        )
        for path in ("/metadata/identity/info", "/metadata/instance/../identity/info", "/metadata/%69dentity/info"):
            status, document = ask(inside, path)
            assert (status, document["error"]) == (404, "not_found")


def test_another_user_reaches_itself(inside: Pod, tmp_path: Path) -> None:
    """A sidecar that the redirect does not let by says what is wrong instead of going round."""
    with sidecar(inside, tmp_path, 0):
        status, document = ask(inside, "/metadata/instance")
    assert (status, document["error"]) == (508, "loop_detected")
    assert f"uid {PROXY_UID}" in document["error_description"]
