"""Find the API server and the credentials for it: those of a pod, or those of a kubeconfig file."""

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from wisp.base.errors import SettingError
from wisp.base.secret import Secret
from wisp.http.tls import load_pem

if TYPE_CHECKING:
    from wisp.kubernetes.kubeconfig import Kubeconfig

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the credentials and the namespace of its own service account."""
_HINT = "give one made by `kubectl config view --flatten --minify`, with a certificate or a token"
_UNSUPPORTED = {
    "cluster": ("insecure-skip-tls-verify", "proxy-url", "tls-server-name"),
    "user": ("exec", "auth-provider", "username"),
}


class ApiServer(NamedTuple):
    """Where the API server is, whom to trust, and how to authenticate.

    `tls_context` and `token` are called for each new connection or request, because their files are renewed in place.
    """

    host: str
    port: int
    path_prefix: str
    tls_context: Callable[[], ssl.SSLContext]
    token: Callable[[], Secret | None]


def in_cluster(environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT_DIR) -> ApiServer:
    """Return the API server of the cluster that this pod runs in. Raise SettingError outside a cluster.

    Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
    """

    def token() -> Secret:
        return Secret((folder / "token").read_text(encoding="ascii").strip())

    def tls_context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(folder / "ca.crt"))

    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdecimal():
        raise SettingError("KUBERNETES_SERVICE_HOST is not set: this is not a pod", hint="give --kubeconfig")
    try:
        token()
        tls_context()
    except (OSError, ValueError) as error:
        raise SettingError(
            f"the pod's service account in {folder} cannot be used: {error}",
            hint="set automountServiceAccountToken: true, or give --kubeconfig",
        ) from None
    return ApiServer(host, int(port), "", tls_context, token)


def from_kubeconfig(path: Path) -> ApiServer:
    """Return the API server of a kubeconfig's current context. Raise SettingError if it cannot be used."""
    # Not at the top: in a cluster there is no kubeconfig, and a YAML library takes memory.
    from wisp.kubernetes.kubeconfig import parse_kubeconfig  # noqa: PLC0415

    try:
        return _api_server(parse_kubeconfig(path.read_text(encoding="utf-8")), path.parent)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SettingError(f"{str(path)!r} is not a usable kubeconfig ({reason})", hint=_HINT) from None


def _api_server(config: "Kubeconfig", folder: Path) -> ApiServer:
    url = urlsplit(config.cluster["server"])
    if url.scheme != "https" or url.hostname is None:
        raise ValueError(f"server is not an https URL: {config.cluster['server']!r}")
    for section, names in _UNSUPPORTED.items():
        for name in names:
            if getattr(config, section).get(name):
                raise ValueError(f"{name} is not supported")
    files = config.files()

    def content(name: str) -> bytes:
        data = config.data(name)
        return (folder / files[name]).read_bytes() if data is None else data

    def tls_context() -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=content("certificate-authority").decode("ascii"))
        if "client-certificate" in files or config.data("client-certificate") is not None:
            load_pem(context, content("client-certificate"), content("client-key"))
        return context

    def token() -> Secret | None:
        if "tokenFile" in config.user:
            return Secret((folder / config.user["tokenFile"]).read_text(encoding="ascii").strip())
        return Secret(config.user["token"]) if "token" in config.user else None

    tls_context()
    token()
    return ApiServer(url.hostname, url.port or 443, url.path.rstrip("/"), tls_context, token)
