"""The audit log of a token gateway: for which workload the gateway made an exchange. Pure.

`wisp gateway` presents its own service account token, so Entra sees the gateway and not the workload. It sends the
correlation id of the workload's request, and writes it into its audit log with the workload's name. One exchange can
serve several workloads; the correlation id is the first one's.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from wisp_local.cloud.page.tokens import moment

PODS = 10  # of a gateway that are asked; the chart runs two
LOG_LIMIT = 4 * 1024 * 1024  # bytes of a pod's log; a line has up to 4,096
CALLERS = 10  # at most, of one correlation id: clients choose it, so several may have sent the same
_SELECTOR = "app.kubernetes.io/part-of=wisp,app.kubernetes.io/component=gateway"
_CONTAINER = "gateway"
_EARLY = 5.0  # seconds before the exchange that count, as the cluster's clock may be behind
_FIELD = 256  # characters
_GATEWAY = re.compile(r"system:serviceaccount:([a-z0-9][a-z0-9-]{0,62}):(?:[a-z0-9.-]*-)?wisp-gateway")


@dataclass(frozen=True)
class GatewayExchange:
    """An exchange at `at` (Unix seconds) by the gateway in `namespace`, for the request with this correlation id."""

    namespace: str
    correlation_id: str
    client_id: str
    at: float

    @property
    def command(self) -> str:
        """The command that prints the audit lines of the workload's request."""
        lines = (
            f"kubectl logs --namespace={self.namespace} --selector={_SELECTOR}",
            f"--container={_CONTAINER} --tail=-1 --since-time={self._since} | grep {self.correlation_id}",
        )
        return " \\\n  ".join(lines)

    @property
    def pods_path(self) -> str:
        """The path of the list of the gateway's pods at the API server."""
        return f"/api/v1/namespaces/{self.namespace}/pods?{urlencode({'labelSelector': _SELECTOR, 'limit': PODS})}"

    def log_path(self, pod: str) -> str:
        """Return the path of the log of a pod at the API server, from just before the exchange."""
        query = urlencode({"container": _CONTAINER, "sinceTime": self._since, "limitBytes": LOG_LIMIT})
        return f"/api/v1/namespaces/{self.namespace}/pods/{quote(pod, safe='')}/log?{query}"

    @property
    def _since(self) -> str:
        return moment(self.at - _EARLY).removesuffix(" UTC").replace(" ", "T") + "Z"


@dataclass(frozen=True)
class AuditedCaller:
    """A workload that asked a gateway for a token at `time`, and the `result`."""

    time: str
    namespace: str
    service_account: str
    pod: str
    node: str
    result: str


def gateway_namespace(subject: str) -> str:
    """Return the namespace of the gateway whose service account is the subject; empty for any other subject.

    The chart calls the service account `wisp-gateway` or `RELEASE-wisp-gateway`.
    """
    found = _GATEWAY.fullmatch(subject)
    return "" if found is None else found[1]


def pod_names(document: bytes) -> list[str]:
    """Return the names in a list of pods."""
    try:
        items = json.loads(document)["items"]
        return [str(item["metadata"]["name"]) for item in items[:PODS]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


def callers(log: bytes, exchange: GatewayExchange) -> list[AuditedCaller]:
    """Return the workloads in a pod's log whose request for the identity had the exchange's correlation id."""
    wanted = exchange.correlation_id.encode()
    found = (_caller(line, exchange) for line in log.split(b"\n") if wanted in line)
    return [caller for caller in found if caller is not None][:CALLERS]


def _caller(line: bytes, exchange: GatewayExchange) -> AuditedCaller | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or _text(document, "correlationId") != exchange.correlation_id:
        return None
    if _text(document, "clientId").lower() != exchange.client_id.lower() or not _text(document, "namespace"):
        return None
    names = ("time", "namespace", "serviceAccount", "pod", "node", "result")
    return AuditedCaller(*(_text(document, name) for name in names))


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value[:_FIELD] if isinstance(value, str) else ""
