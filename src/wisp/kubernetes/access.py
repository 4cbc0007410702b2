"""Where a kubeconfig's API server is and what to present to it, for commands on a person's machine.

Everything that kubectl takes from a kubeconfig is here, except basic authentication and the auth providers, which
Kubernetes has removed. The processes of wisp that run in a cluster use the simpler `wisp.kubernetes.config`.
"""

import contextlib
import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from wisp.base.errors import SettingError
from wisp.base.secret import Secret
from wisp.http.tls import load_pem
from wisp.kubernetes.config import in_cluster
from wisp.kubernetes.exec_plugin import run_plugin
from wisp.kubernetes.kubeconfig import Kubeconfig

_HINT = "check the kubeconfig with `kubectl config view`"


class Access(NamedTuple):
    """Where an API server is, and what to present to it. `proxy` is a URL or empty, as is `server_name`."""

    url: str
    tls: ssl.SSLContext
    token: Secret | None
    headers: Mapping[str, list[str]] = {}
    """Headers for impersonation."""
    server_name: str = ""
    proxy: str = ""


def access_of_pod() -> Access:
    """Return the API server of the cluster in which this pod runs. Raise SettingError."""
    server = in_cluster()
    host = f"[{server.host}]" if ":" in server.host else server.host
    return Access(f"https://{host}:{server.port}", server.tls_context(), server.token())


def access_of(config: Kubeconfig, environ: Mapping[str, str]) -> Access:
    """Return the API server of a kubeconfig whose paths are absolute. Raise SettingError or ToolError."""
    cluster, user = config.cluster, config.user
    url = str(cluster["server"]).rstrip("/")
    if not _is_https(url):
        raise SettingError(f"the server of the context {config.context!r} is not an https URL", hint=_HINT)
    for name in ("auth-provider", "username"):
        if user.get(name):
            raise SettingError(
                f"the user of the context {config.context!r} has {name}, which is not supported",
                hint="use a certificate, a token or a credential plugin (exec)",
            )
    try:
        authority = _content(config, "certificate-authority")
        certificate, key = _content(config, "client-certificate"), _content(config, "client-key")
        token = _token(user)
        if token is None and certificate is None and user.get("exec"):
            credentials = run_plugin(config, authority, environ=environ)
            token = credentials.token
            if credentials.certificate is not None and credentials.key is not None:
                certificate, key = credentials.certificate.encode(), credentials.key.reveal().encode()
        tls = ssl.create_default_context(cadata=None if authority is None else authority.decode("ascii"))
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 refuses CAs of clusters that kubectl accepts
        if certificate is not None:
            load_pem(tls, certificate, key or b"")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(getattr(error, "strerror", None) or type(error).__name__)
        file = getattr(error, "filename", None)
        problem = f"the credentials of the context {config.context!r} cannot be used: {reason}"
        if file:
            problem += f" ({file})"
        raise SettingError(problem, hint=_HINT) from None
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return Access(
        url,
        tls,
        token,
        _impersonation(user),
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or "") or _proxy(url),
    )


def _is_https(url: str) -> bool:
    try:
        return urlsplit(url).scheme == "https" and bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def _content(config: Kubeconfig, name: str) -> bytes | None:
    data = config.data(name)
    path = config.files().get(name)
    return Path(path).read_bytes() if data is None and path else data


def _token(user: Mapping[str, Any]) -> Secret | None:
    if user.get("tokenFile"):
        return Secret(Path(user["tokenFile"]).read_text(encoding="ascii").strip())
    return Secret(str(user["token"])) if user.get("token") else None


def _impersonation(user: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the headers for `as`, `as-uid`, `as-groups` and `as-user-extra` of a kubeconfig."""
    headers: dict[str, list[str]] = {}
    if user.get("as"):
        headers["Impersonate-User"] = [str(user["as"])]
        if user.get("as-uid"):
            headers["Impersonate-Uid"] = [str(user["as-uid"])]
        if user.get("as-groups"):
            headers["Impersonate-Group"] = [str(group) for group in user["as-groups"]]
        for name, values in (user.get("as-user-extra") or {}).items():
            headers[f"Impersonate-Extra-{quote(str(name), safe='')}"] = [str(value) for value in values]
    return headers


def _proxy(url: str) -> str:
    """Return the proxy that HTTPS_PROXY and NO_PROXY ask for, or nothing.

    NO_PROXY may hold networks, and this machine is never behind a proxy, as for kubectl
    (https://pkg.go.dev/golang.org/x/net/http/httpproxy).
    """
    host = urlsplit(url).hostname or ""
    proxies = getproxies_environment()
    if "https" not in proxies or host == "localhost" or proxy_bypass(host):
        return ""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_loopback:
            return ""
        for network in proxies.get("no", "").split(","):
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(network.strip(), strict=False):
                    return ""
    proxy = proxies["https"]
    return proxy if "://" in proxy else f"http://{proxy}"
