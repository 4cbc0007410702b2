"""Ask an attached API server for the audit log of its token gateway. Reads only, on demand, and bounded."""

import ssl
import time

from wisp.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, parse_kubeconfig
from wisp_local.cloud.https import FetchError, HttpsFetch, present
from wisp_local.cloud.page.audit import LOG_LIMIT, AuditedCaller, GatewayExchange, callers, pod_names

_DEADLINE = 15.0  # seconds after which no further pod is asked
_UNSUPPORTED = {
    "cluster": ("insecure-skip-tls-verify", "proxy-url", "tls-server-name"),
    "user": ("exec", "auth-provider", "username", "tokenFile"),
}


class CallerLookupError(Exception):
    """The audit log could not be read; the text says why, in a clause."""


def find_callers(kubeconfig: str, exchange: GatewayExchange) -> list[AuditedCaller]:
    """Return the workloads whose request caused the exchange, as the logs of the gateway's pods name them.

    Raises `CallerLookupError` if no log can be read. Pods that have been deleted since have no log.
    """
    try:
        url, fetch = _api_server(parse_kubeconfig(kubeconfig))
    except (KubeconfigError, ssl.SSLError, ValueError) as error:
        raise CallerLookupError("the attached kubeconfig cannot be used here") from error
    try:
        pods = pod_names(fetch(url + exchange.pods_path))
    except FetchError as error:
        raise CallerLookupError(f"the API server does not list the gateway's pods ({error})") from error
    if not pods:
        raise CallerLookupError(f"namespace {exchange.namespace} has no pod of a gateway")
    found: set[AuditedCaller] = set()
    problems, deadline = [], time.monotonic() + _DEADLINE
    for pod in pods:
        try:
            found.update(callers(fetch(url + exchange.log_path(pod)), exchange))
        except FetchError as error:
            problems.append(f"the log of pod {pod} cannot be read ({error})")
        if time.monotonic() > deadline:
            break
    if problems and not found:
        raise CallerLookupError(problems[0])
    return sorted(found, key=lambda caller: caller.time)


def _api_server(config: Kubeconfig) -> tuple[str, HttpsFetch]:
    """Return the URL of the API server, and how to get documents from it. Raises ValueError."""
    if not str(config.cluster["server"]).startswith("https://"):
        raise ValueError("the server is not an https URL")
    for section, names in _UNSUPPORTED.items():
        if any(getattr(config, section).get(name) for name in names):
            raise ValueError("the kubeconfig uses what is not supported here")
    authority = config.data("certificate-authority")
    context = ssl.create_default_context(cadata=None if authority is None else authority.decode("ascii"))
    certificate, key = config.data("client-certificate"), config.data("client-key")
    if certificate is not None and key is not None:
        present(context, key + b"\n" + certificate)
    token = config.user.get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return str(config.cluster["server"]).rstrip("/"), HttpsFetch(context, headers=headers, size_limit=LOG_LIMIT)
