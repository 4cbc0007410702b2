"""Where the API server is and how it is spoken to: from inside the cluster, or as a kubeconfig file says."""

import base64
import binascii
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from wisp.base.errors import SettingError
from wisp.base.secret import Secret
from wisp.http.tls import load_pem

MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own service account."""
_HINT = "give one made by `kubectl config view --flatten --minify`, with a certificate or a token"


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
    import yaml  # noqa: PLC0415 -- in a cluster there is no such file, and no memory to spare

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        chosen = _named(document, "contexts", document["current-context"])["context"]
        cluster = _named(document, "clusters", chosen["cluster"])["cluster"]
        user = _named(document, "users", chosen["user"])["user"]
        return _access(cluster, user, path.parent)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SettingError(f"{str(path)!r} is no usable kubeconfig ({reason})", hint=_HINT) from None


def _named(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    found = next((each for each in document[kind] if each["name"] == name), None)
    if found is None:
        raise LookupError(f"{kind} has no {name!r}")
    return found  # type: ignore[no-any-return] # of a file; what does not fit is refused by the caller


def _access(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> Access:
    url = urlsplit(cluster["server"])
    if url.scheme != "https" or url.hostname is None:
        raise ValueError(f"server is not an https URL: {cluster['server']!r}")
    for unsupported in ("insecure-skip-tls-verify", "proxy-url", "tls-server-name"):
        if cluster.get(unsupported):
            raise ValueError(f"{unsupported} is not supported")
    for unsupported in ("exec", "auth-provider", "username"):
        if user.get(unsupported):
            raise ValueError(f"{unsupported} is not supported")

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=_content(cluster, "certificate-authority", folder).decode("ascii"))
        if "client-certificate" in user or "client-certificate-data" in user:
            load_pem(made, _content(user, "client-certificate", folder), _content(user, "client-key", folder))
        return made

    def token() -> Secret | None:
        if "tokenFile" in user:
            return Secret((folder / user["tokenFile"]).read_text(encoding="ascii").strip())
        return Secret(user["token"]) if "token" in user else None

    context()
    token()
    return Access(url.hostname, url.port or 443, url.path.rstrip("/"), context, token)


def _content(section: Mapping[str, Any], name: str, folder: Path) -> bytes:
    data = section.get(f"{name}-data")
    if data is not None:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{name}-data is not base64") from error
    path: Path = folder / section[name]
    return path.read_bytes()


def cluster_place(environ: Mapping[str, str] | None = None) -> tuple[str, int]:
    """Return host and port of the API server, as every pod is told them. Raise SettingError outside a cluster."""
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdecimal():
        raise SettingError("KUBERNETES_SERVICE_HOST is not set: this is no pod", hint="give --kubeconfig")
    return host, int(port)
