"""Parse kubeconfig files: the cluster and the user of the current context, and the files that these refer to.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_FILES = ("certificate-authority", "client-certificate", "client-key")


class KubeconfigError(ValueError):
    """The text is not a usable kubeconfig; the message says why and quotes no credentials."""


@dataclass(frozen=True)
class Kubeconfig:
    """The `cluster` and `user` entries of a kubeconfig's current context. `cluster` has a `server`."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any] = field(repr=False)

    def data(self, name: str) -> bytes | None:
        """Return the decoded `NAME-data`, such as `client-key-data`; None if it is absent. Raise KubeconfigError."""
        text = self._value(f"{name}-data")
        if text is None:
            return None
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise KubeconfigError(f"{name}-data is not base64") from None

    def files(self) -> dict[str, str]:
        """Return the paths of certificates and keys that are not inline, such as `client-key`, by their names."""
        paths = {name: self._value(name) for name in _FILES if self._value(f"{name}-data") is None}
        return {name: str(path) for name, path in paths.items() if path is not None}

    def flattened(self, contents: Mapping[str, bytes]) -> "Kubeconfig":
        """Return the same with `contents`, the contents of `files`, inline: `kubectl config view --flatten`."""
        inline = {f"{name}-data": base64.b64encode(content).decode() for name, content in contents.items()}
        cluster, user = (
            {name: value for name, value in section.items() if name not in _FILES}
            for section in (self.cluster, self.user)
        )
        for name, value in inline.items():
            (cluster if name.startswith("certificate-authority") else user)[name] = value
        return Kubeconfig(cluster, user)

    def document(self, *, cluster: str, user: str, context: str) -> str:
        """Return a kubeconfig with this context alone, under these names, as YAML."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": dict(self.cluster)}],
            "users": [{"name": user, "user": dict(self.user)}],
            "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
            "current-context": context,
            "preferences": {},
        }
        return str(yaml.safe_dump(document, sort_keys=False))

    def _value(self, name: str) -> Any:
        return self.cluster.get(name) if name.startswith("certificate-authority") else self.user.get(name)


def parse_kubeconfig(text: str) -> Kubeconfig:
    """Parse a kubeconfig. Raise KubeconfigError."""
    try:
        document = yaml.safe_load(text)
        context = _entry(document, "context", document["current-context"])
        cluster = _entry(document, "cluster", context["cluster"])
        user = _entry(document, "user", context["user"])
    except yaml.YAMLError:
        raise KubeconfigError("it is not YAML") from None
    except KubeconfigError:
        raise
    except (LookupError, TypeError, ValueError):
        raise KubeconfigError("it has no current context with a cluster and a user") from None
    if not isinstance(cluster.get("server"), str):
        raise KubeconfigError("its current context names no server")
    return Kubeconfig(cluster, user)


def _entry(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    """Return the entry of `contexts`, `clusters` or `users` called `name`."""
    for entry in document[f"{kind}s"]:
        if entry["name"] == name:
            found = entry[kind]
            if isinstance(found, dict):
                return found
    raise KubeconfigError(f"{kind}s has no {name!r}")
