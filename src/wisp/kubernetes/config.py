"""Where the API server is and how it is spoken to: from inside the cluster, or as a kubeconfig file says."""

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

MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own service account."""
_HINT = "give one made by `kubectl config view --flatten --minify`, with a certificate or a token"
_UNSUPPORTED_CLUSTER = ("insecure-skip-tls-verify", "proxy-url", "tls-server-name")
_UNSUPPORTED_USER = ("exec", "auth-provider", "username")


class Access(NamedTuple):
    """A way to the API server. `context` and `token` are asked for each new connection: files are renewed in place."""

    host: str
    port: int
    prefix: str
    context: Callable[[], ssl.SSLContext]
    token: Callable[[], Secret | None]


def in_cluster(place: tuple[str, int], mount: Path = MOUNT) -> Access:
    """Return the way that every pod has: its service account's token, renewed by the kubelet, and the cluster's CA."""

    def token() -> Secret:
        return Secret((mount / "token").read_text(encoding="ascii").strip())

    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(mount / "ca.crt"))

    try:
        token()
        context()
    except (OSError, ValueError) as error:
        raise SettingError(
            f"the pod's service account in {mount} cannot be used: {error}",
            hint="set automountServiceAccountToken: true, or give --kubeconfig",
        ) from None
    return Access(place[0], place[1], "", context, token)


def from_kubeconfig(path: Path) -> Access:
    """Return the way of the file's current context. Raise SettingError for what is missing or not supported."""
    # Not at the top: in a cluster there is no kubeconfig, and a YAML library takes memory.
    from wisp.kubernetes.kubeconfig import parse_kubeconfig  # noqa: PLC0415

    try:
        return _access(parse_kubeconfig(path.read_text(encoding="utf-8")), path.parent)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SettingError(f"{str(path)!r} is not a usable kubeconfig ({reason})", hint=_HINT) from None


def _access(config: "Kubeconfig", folder: Path) -> Access:
    url = urlsplit(config.cluster["server"])
    if url.scheme != "https" or url.hostname is None:
        raise ValueError(f"server is not an https URL: {config.cluster['server']!r}")
    for section, unsupported in ((config.cluster, _UNSUPPORTED_CLUSTER), (config.user, _UNSUPPORTED_USER)):
        for name in unsupported:
            if section.get(name):
                raise ValueError(f"{name} is not supported")
    files = config.files()

    def content(name: str) -> bytes:
        data = config.data(name)
        return (folder / files[name]).read_bytes() if data is None else data

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=content("certificate-authority").decode("ascii"))
        if "client-certificate" in files or config.data("client-certificate") is not None:
            load_pem(made, content("client-certificate"), content("client-key"))
        return made

    def token() -> Secret | None:
        if "tokenFile" in config.user:
            return Secret((folder / config.user["tokenFile"]).read_text(encoding="ascii").strip())
        return Secret(config.user["token"]) if "token" in config.user else None

    context()
    token()
    return Access(url.hostname, url.port or 443, url.path.rstrip("/"), context, token)


def cluster_place(environ: Mapping[str, str] | None = None) -> tuple[str, int]:
    """Return host and port of the API server, as every pod is told them. Raise SettingError outside a cluster."""
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdecimal():
        raise SettingError("KUBERNETES_SERVICE_HOST is not set: this is no pod", hint="give --kubeconfig")
    return host, int(port)
