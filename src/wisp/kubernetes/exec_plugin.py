"""Credentials from the program that a kubeconfig names under `exec`, such as kubelogin for AKS.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins and
https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wisp.base.errors import SettingError, ToolError
from wisp.base.secret import Secret
from wisp.kubernetes.kubeconfig import Kubeconfig

_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_MODES = ("Never", "IfAvailable", "Always")


class Credentials(NamedTuple):
    """A token, a client certificate with its key (PEM), or all of them; what is missing is None."""

    token: Secret | None = None
    certificate: str | None = None
    key: Secret | None = None


def run_plugin(
    config: Kubeconfig,
    authority: bytes | None,
    *,
    environ: Mapping[str, str] = os.environ,
    is_terminal: Callable[[], bool] = sys.stdin.isatty,
) -> Credentials:
    """Run the plugin of `config.user` and return its credentials. Raise SettingError or ToolError.

    `authority` are the CA certificates of the cluster (PEM), for plugins that ask for them. The plugin writes its
    messages to our standard error. If it may ask questions, it reads the answers from our standard input.
    """
    plugin: Mapping[str, Any] = config.user["exec"]
    command, version = plugin.get("command"), plugin.get("apiVersion")
    if not isinstance(command, str) or version not in _VERSIONS:
        raise SettingError(
            f"the credential plugin of the kubeconfig has no command, or a version that is not supported: {version!r}",
            hint=f"use a plugin with apiVersion {_VERSIONS[0]}",
        )
    mode = plugin.get("interactiveMode") or "IfAvailable"
    if mode not in _MODES:
        raise SettingError(f"interactiveMode is invalid: {mode!r}", hint=f"give one of {', '.join(_MODES)}")
    interactive = mode != "Never" and is_terminal()
    if mode == "Always" and not interactive:
        raise ToolError(f"{command!r} asks for a login, and this is not a terminal", hint="log in from a terminal")
    own = {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or ()}
    info = {"KUBERNETES_EXEC_INFO": exec_info(config, authority, interactive=interactive)}
    try:
        ran = subprocess.run(
            [command, *map(str, plugin.get("args") or ())],
            env={**environ, **own, **info},
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
    except OSError as error:
        install = " ".join(str(plugin.get("installHint") or f"install {command}, or correct the kubeconfig").split())
        reason = (error.strerror or str(error)).lower()
        raise ToolError(
            f"the kubeconfig's credential plugin {command!r} cannot be run: {reason}", hint=install
        ) from None
    if ran.returncode:
        problem = f"the kubeconfig's credential plugin {command!r} failed with exit status {ran.returncode}"
        raise ToolError(problem, hint="its messages are above; log in again")
    credentials = parse_credentials(ran.stdout, str(version))
    if credentials is None:
        problem = f"the kubeconfig's credential plugin {command!r} printed no credentials of version {version}"
        raise ToolError(problem, hint="run it by hand and compare its version with the kubeconfig's apiVersion")
    return credentials


def exec_info(config: Kubeconfig, authority: bytes | None, *, interactive: bool) -> str:
    """Return the value of KUBERNETES_EXEC_INFO."""
    plugin, cluster = config.user["exec"], config.cluster
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
        spec["cluster"] = {name: cluster[name] for name in names if name in cluster}
        if authority is not None:
            spec["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
        for entry in cluster.get("extensions") or ():
            if entry.get("name") == f"{_GROUP}/exec":
                spec["cluster"]["config"] = entry.get("extension")
    return json.dumps({"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec})


def parse_credentials(output: bytes, version: str) -> Credentials | None:
    """Return the credentials that a plugin has printed, or None if it has printed none of this version."""
    try:
        document = json.loads(output)
        status = document["status"]
        token, certificate, key = (
            status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData")
        )
        valid = document["kind"] == "ExecCredential" and document["apiVersion"] == version
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    if not valid or not (token or certificate) or (certificate is None) != (key is None):
        return None
    if not all(isinstance(value, str) for value in (token, certificate, key) if value is not None):
        return None
    return Credentials(token and Secret(token), certificate, key and Secret(key))
