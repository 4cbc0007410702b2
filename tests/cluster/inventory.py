"""All objects of a cluster, to find what an installation leaves behind."""

import json

from tests.cluster.cluster import Cluster

_TRANSIENT = frozenset({"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"})
"""Kinds whose objects come and go by themselves."""


def inventory(cluster: Cluster) -> set[str]:
    """Return all objects of all kinds that can be listed, as `kind namespace/name`."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    names = ",".join(sorted(set(kinds) - _TRANSIENT))
    listed = json.loads(cluster.kubectl("get", names, "--all-namespaces", "-o", "json"))
    return {
        f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}" for item in listed["items"]
    }
