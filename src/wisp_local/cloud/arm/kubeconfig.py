"""Read a kubeconfig and name what is in it as AKS does; knows no file.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from collections.abc import Mapping
from typing import Any

import yaml

from wisp_local.cloud.errors import RequestError

_FILES = {
    "clusters": ("cluster", {"certificate-authority": "certificate-authority-data"}),
    "users": ("user", {"client-certificate": "client-certificate-data", "client-key": "client-key-data"}),
}


def read(text: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return cluster and user of the current context; raises `RequestError` when there is none to be had."""
    try:
        document = yaml.safe_load(text)
        context = _called(document["contexts"], document["current-context"])["context"]
        cluster = _called(document["clusters"], context["cluster"])["cluster"]
        user = _called(document["users"], context["user"])["user"]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise _unusable("it has no current context with a cluster and a user") from error
    if not isinstance(cluster, dict) or not isinstance(user, dict) or not isinstance(cluster.get("server"), str):
        raise _unusable("its current context names no server")
    return cluster, user


def files(text: str) -> Mapping[str, str]:
    """Return the files that the current context leans on, by the name that their content would have instead."""
    cluster, user = read(text)
    found: dict[str, object] = {}
    for part, (_, names) in zip((cluster, user), _FILES.values(), strict=True):
        found |= {data: part[name] for name, data in names.items() if data not in part and name in part}
    return {data: str(path) for data, path in found.items()}


def whole(text: str, contents: Mapping[str, str]) -> str:
    """Return a kubeconfig that leans on no file: `contents` are theirs, base64, by the names that `files` gave."""
    cluster, user = ({**each} for each in read(text))
    for part, (_, names) in zip((cluster, user), _FILES.values(), strict=True):
        for name, data in names.items():
            part.pop(name, None)
            if data in contents:
                part[data] = contents[data]
    return _written(cluster, user, cluster_name="cluster", user_name="user", context="cluster")


def named_as_azure_does(text: str, *, cluster: str, user: str) -> str:
    """Return the current context alone, called by the cluster's name: what `az aks get-credentials` merges.

    Administrators' contexts get their `-admin` from `az` itself.
    """
    found_cluster, found_user = read(text)
    return _written(found_cluster, found_user, cluster_name=cluster, user_name=user, context=cluster)


def _written(
    cluster: Mapping[str, object], user: Mapping[str, object], *, cluster_name: str, user_name: str, context: str
) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster_name, "cluster": dict(cluster)}],
        "users": [{"name": user_name, "user": dict(user)}],
        "contexts": [{"name": context, "context": {"cluster": cluster_name, "user": user_name}}],
        "current-context": context,
        "preferences": {},
    }
    return str(yaml.safe_dump(document, sort_keys=False))


def _called(entries: list[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    for each in entries:
        if each["name"] == name:
            return each
    raise KeyError(name)


def _unusable(reason: str) -> RequestError:
    return RequestError(f"the kubeconfig cannot be used ({reason})", hint="give one that kubectl works with")
