"""azure-workload-identity as it was observed: its changes of a pod, and a webhook that makes them.

Its containers are those of the observed reference pods. Containers that a pod already has stay in their place and get
what every container gets. Missing ones are added, the sidecar before the pod's own init containers and the redirect
after them.
"""

import base64
import copy
import hashlib
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.identity import REDIRECT, SIDECAR, VOLUME
from tests.unit.wisp.admission.observed import CASES
from wisp_local.lab.node.images import Recipe

REGISTRY = "mcr.microsoft.com/oss/v2/azure/workload-identity"
PROXY_IMAGE, REDIRECT_IMAGE = f"{REGISTRY}/proxy:v1.6.0", f"{REGISTRY}/proxy-init:v1.6.0"
_OBSERVED = next(case for case in CASES if case.name == "sidecar").answer["pod"]
_MATCH = "-p tcp -d 169.254.169.254 --dport 80 -m owner ! --uid-owner 1501"
REDIRECT_RECIPE = Recipe(
    REDIRECT_IMAGE,
    ("iptables",),
    ("/bin/sh", "-c", f'iptables -t nat -A OUTPUT {_MATCH} -j REDIRECT --to-ports "$PROXY_PORT"'),
)
"""A replacement for the image of its redirect, which gets the port by a variable and has no arguments."""


@dataclass(frozen=True)
class Reference:
    """Its installation in a cluster; `client_id` is that of the one service account."""

    tenant_id: str
    client_id: str
    authority_host: str

    def mutated(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Return the pod with the identity and the sidecar."""
        made = copy.deepcopy(pod)
        spec, observed = made["spec"], self._observed(pod["metadata"])
        sidecar, redirect = observed["initContainers"]
        own = spec.setdefault("initContainers", [])
        present = {container["name"] for container in own}
        own[:0] = [] if SIDECAR in present else [sidecar]
        own += [] if REDIRECT in present else [redirect]
        (given,) = observed["containers"]
        for container in [*own, *spec["containers"]]:
            known = {one["name"] for one in container.get("env", [])}
            container["env"] = container.get("env", []) + [one for one in given["env"] if one["name"] not in known]
            container["volumeMounts"] = _with(container.get("volumeMounts", []), given["volumeMounts"][0])
        spec["volumes"] = _with(spec.get("volumes", []), observed["volumes"][0])
        return made

    def _observed(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return the observed pod with the names and values of this pod and cluster."""
        name = metadata.get("name") or f"{metadata['generateName']} (prefix)"
        volume = (VOLUME + hashlib.sha256(name.encode()).hexdigest())[:63]
        (given,) = _OBSERVED["spec"]["containers"]
        values = {variable["name"]: variable["value"] for variable in given["env"]}
        changes = {
            _OBSERVED["spec"]["volumes"][0]["name"]: volume,
            values["AZURE_CLIENT_ID"]: self.client_id,
            values["AZURE_TENANT_ID"]: self.tenant_id,
            values["AZURE_AUTHORITY_HOST"]: self.authority_host,
            "/proxy:": PROXY_IMAGE,
            "/proxy-init:": REDIRECT_IMAGE,
        }
        return dict(_changed(_OBSERVED["spec"], changes))


def _changed(document: Any, changes: dict[str, str]) -> Any:
    if isinstance(document, dict):
        return {key: _changed(value, changes) for key, value in document.items()}
    if isinstance(document, list):
        return [_changed(item, changes) for item in document]
    return changes.get(document, document) if isinstance(document, str) else document


def _with(present: list[dict[str, Any]], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in present if item["name"] != wanted["name"]] + [wanted]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    reference: Reference


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a review."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        spec = self.server.reference.mutated(request["object"])["spec"]
        patch = base64.b64encode(json.dumps([{"op": "replace", "path": "/spec", "value": spec}]).encode()).decode()
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def webhook(reference: Reference, host: str, folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Run the webhook at this machine's address `host`; give its MutatingWebhookConfiguration, called `name`."""
    certificate = _certificate(host, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "reference.pem")
    with _Server((host, 0), _Handler) as server:
        server.reference = reference
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield _configuration(name, f"https://{host}:{server.server_port}/mutate-v1-pod", certificate)
        finally:
            server.shutdown()
            thread.join()


def _configuration(name: str, url: str, certificate: bytes) -> dict[str, Any]:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    webhook = {
        "name": "mutation.azure-workload-identity.io",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": url, "caBundle": base64.b64encode(certificate).decode()},
        "objectSelector": {"matchLabels": {"azure.workload.identity/use": "true"}},
        "rules": rules,
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }


def _certificate(host: str, folder: Path) -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azure-workload-identity")])
    builder = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
    builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=1))
    builder = builder.serial_number(x509.random_serial_number())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    pem = serialization.Encoding.PEM
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(pem)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "reference.pem").write_bytes(private + made)
    return made
