"""Parse kubeconfig files: the cluster and the user of the current context, and the files that these refer to.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

_FILES = ("certificate-authority", "client-certificate", "client-key")


class KubeconfigError(ValueError):
    """The text is not a usable kubeconfig; the message says why and quotes no credentials."""


@dataclass(frozen=True)
class Kubeconfig:
    """The `cluster` and `user` entries of a kubeconfig's context. `cluster` has a `server`."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any] = field(repr=False)
    context: str = field(default="", compare=False)
    """The name of the context."""

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
    return select_context((read_kubeconfig(text),))


def read_kubeconfig(text: str, folder: str = "") -> Mapping[str, Any]:
    """Return the document; relative paths in it are below `folder`. Raise KubeconfigError.

    A command of an `exec` plugin is a path if it has a slash in it, and otherwise found on PATH.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        raise KubeconfigError("it is not YAML") from None
    if document is not None and not isinstance(document, dict):
        raise KubeconfigError("it is not a mapping")
    document = document or {}
    if folder:
        for kind in ("cluster", "user"):
            for entry in document.get(f"{kind}s") or ():
                if isinstance(entry, dict) and isinstance(entry.get(kind), dict):
                    _rebase(entry[kind], folder)
    return document


def _rebase(section: dict[str, Any], folder: str) -> None:
    for name in (*_FILES, "tokenFile"):
        if isinstance(section.get(name), str) and section[name]:
            section[name] = _below(folder, section[name])
    plugin = section.get("exec")
    if isinstance(plugin, dict) and "/" in str(plugin.get("command")):
        plugin["command"] = _below(folder, str(plugin["command"]))


def _below(folder: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder.rstrip('/')}/{path}"


def select_context(documents: Sequence[Mapping[str, Any]], context: str = "") -> Kubeconfig:
    """Return the context of this name, or the current one. The first document that has an entry wins, as in kubectl.

    Raise KubeconfigError.
    """
    try:
        name = context or next(str(found["current-context"]) for found in documents if found.get("current-context"))
    except StopIteration:
        raise KubeconfigError("it has no current context") from None
    try:
        chosen = _entry(documents, "context", name)
        cluster = _entry(documents, "cluster", chosen["cluster"])
        user = _entry(documents, "user", chosen["user"])
    except KubeconfigError:
        raise
    except (LookupError, TypeError, ValueError):
        raise KubeconfigError(f"its context {name!r} has no cluster and user") from None
    if not isinstance(cluster.get("server"), str):
        raise KubeconfigError(f"its context {name!r} names no server")
    return Kubeconfig(cluster, user, name)


def context_names(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all contexts, each once."""
    entries = (entry for found in documents for entry in found.get("contexts") or ())
    return list(dict.fromkeys(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry))


def _entry(documents: Sequence[Mapping[str, Any]], kind: str, name: str) -> Mapping[str, Any]:
    """Return the entry of `contexts`, `clusters` or `users` called `name`."""
    for document in documents:
        for entry in document.get(f"{kind}s") or ():
            if entry["name"] == name and isinstance(entry[kind], dict):
                found: Mapping[str, Any] = entry[kind]
                return found
    raise KubeconfigError(f"{kind}s has no {name!r}")
