"""Passthrough with a real redirect: the sidecar's user reaches the node; another user or a service mesh loops."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import jwt
from tests.support.needs import need
from tests.unit.wisp.redirect.pod import FIRST_RELEASE, METADATA, NEEDED, PROXY_UID, Pod, network, process, wisp_command

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
    """Return a pod with the redirect, on a node with a metadata service."""
    need(*NEEDED, "curl")
    with network() as (node, new_pod), process(*node.inside, sys.executable, "-c", _NODE, METADATA):
        new_pod.must(*wisp_command("up"))
        yield new_pod


@contextmanager
def sidecar(inside: Pod, folder: Path, uid: int) -> Iterator[None]:
    """Run a sidecar in the pod, as `uid`; the capability only lets it read the interpreter."""
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
    """Request a path of the metadata service as a workload; return the status and the JSON document."""
    url = f"http://{METADATA}{path}"
    output = inside.must("curl", "-sS", "--path-as-is", "-m120", "-HMetadata:true", "-w", "\n%{http_code}", url)
    body, _, status = output.rpartition("\n")
    return int(status), json.loads(body)


def test_user_of_the_sidecar_reaches_the_node(inside: Pod, tmp_path: Path) -> None:
    """Allowed paths are answered by the node's metadata service, others by the sidecar."""
    with sidecar(inside, tmp_path, PROXY_UID):
        assert ask(inside, "/metadata/instance?api-version=2021-02-01") == (
            200,
            {"node heard": "/metadata/instance?api-version=2021-02-01"},
        )
        for path in ("/metadata/identity/info", "/metadata/instance/../identity/info", "/metadata/%69dentity/info"):
            status, document = ask(inside, path)
            assert (status, document["error"]) == (404, "not_found")


def test_sidecar_with_another_user_reports_the_loop(inside: Pod, tmp_path: Path) -> None:
    """The redirect does not exempt it. The error has the reason and the setting."""
    with sidecar(inside, tmp_path, 0):
        status, document = ask(inside, "/metadata/instance")
    assert (status, document["error"]) == (508, "loop_detected")
    assert "does not exempt the sidecar's user, uid 0" in document["error_description"]
    assert "--proxy-uid 0" in document["error_description"]


def test_loop_message_has_the_uid_of_the_sidecar(inside: Pod, tmp_path: Path) -> None:
    """The uid that the redirect exempts is not in it."""
    inside.must(*wisp_command("up", "--proxy-uid=4000"))
    with sidecar(inside, tmp_path, PROXY_UID):
        status, document = ask(inside, "/metadata/instance")
        assert status == 508
        assert f"--proxy-uid {PROXY_UID}" in document["error_description"]
        inside.must(*wisp_command("up", f"--proxy-uid={PROXY_UID}"))
        assert ask(inside, "/metadata/instance")[0] == 200


MESH_UID, MESH_PORT = 1337, 15001
# Envoy's part: takes what the mesh's rules send to it, asks the kernel where it was going, and connects there.
_MESH = """
import encodings.idna, os, socket, struct, sys, threading
os.setgroups([]); os.setresgid(1337, 1337, 1337); os.setresuid(1337, 1337, 1337)
listener = socket.create_server(("127.0.0.1", 15001))
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
def forward(accepted):
    port, address = struct.unpack_from("!2xH4s", accepted.getsockopt(socket.SOL_IP, 80, 16))  # SO_ORIGINAL_DST
    onward = socket.create_connection((socket.inet_ntoa(address), port))
    threading.Thread(target=copy, args=(accepted, onward), daemon=True).start()
    copy(onward, accepted)
    accepted.close()
def serve():
    while True:
        threading.Thread(target=forward, args=listener.accept()[:1], daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
_MESH_RULES = {  # what istio-init installs, as far as it concerns a connection that leaves the pod
    "nft": """
table ip istio {
    chain output {
        type nat hook output priority -90; policy accept;
        meta skuid 1337 return
        ip daddr 127.0.0.0/8 return
        EXEMPT
        meta l4proto tcp redirect to :15001
    }
}
""",
    "iptables-nft": """*nat
:ISTIO_OUTPUT - [0:0]
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.0/8 -j RETURN
EXEMPT
-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
""",
}
_EXEMPT = {
    "nft": f"ip daddr {METADATA} return",
    "iptables-nft": f"-A ISTIO_OUTPUT -d {METADATA}/32 -j RETURN",
}


def _install_mesh(inside: Pod, tool: str, *, exempt: bool) -> None:
    rules = _MESH_RULES[tool].replace("EXEMPT\n", f"{_EXEMPT[tool]}\n" if exempt else "\n")
    if tool == "nft":
        inside.run("nft", "delete", "table", "ip", "istio")
        inside.must("nft", "-f", "-", text=rules)
    else:
        need("iptables-nft-restore")
        inside.run("iptables-nft", "-t", "nat", "-F", "ISTIO_OUTPUT")
        inside.must(
            "iptables-nft-restore", "--noflush", text="\n".join(line for line in rules.splitlines() if line) + "\n"
        )


@pytest.mark.parametrize("tool", sorted(_MESH_RULES))
def test_interception_by_a_mesh_is_reported_with_the_settings(inside: Pod, tmp_path: Path, tool: str) -> None:
    """The error names the mesh's proxy, its user and the mesh's settings.

    It occurs with the redirect of an earlier version; the current one comes before the mesh.
    """
    need(tool)
    inside.must("nft", "-f", "-", text=f"delete table ip wisp\n{FIRST_RELEASE}")
    _install_mesh(inside, tool, exempt=False)
    with process(*inside.inside, sys.executable, "-c", _MESH), sidecar(inside, tmp_path, PROXY_UID):
        status, document = ask(inside, "/metadata/instance")
        assert (status, document["error"]) == (508, "loop_detected")
        message = document["error_description"]
        assert f"a process of uid {MESH_UID} in this pod" in message
        assert f"traffic.sidecar.istio.io/excludeOutboundIPRanges: {METADATA}/32" in message
        assert f"config.linkerd.io/skip-subnets: {METADATA}/32" in message
        assert "--proxy-uid" not in message
        _install_mesh(inside, tool, exempt=True)
        assert ask(inside, "/metadata/instance") == (200, {"node heard": "/metadata/instance"})
        _install_mesh(inside, tool, exempt=False)
        inside.must(*wisp_command("up"))
        assert ask(inside, "/metadata/instance") == (200, {"node heard": "/metadata/instance"})


def test_redirect_is_reported_before_the_mesh(inside: Pod, tmp_path: Path) -> None:
    """The redirect is the first to intercept the sidecar's connection."""
    _install_mesh(inside, "nft", exempt=False)
    with process(*inside.inside, sys.executable, "-c", _MESH), sidecar(inside, tmp_path, 0):
        status, document = ask(inside, "/metadata/instance")
    assert status == 508
    assert "does not exempt the sidecar's user, uid 0" in document["error_description"]
