"""Every object of a cluster, to see what something leaves behind."""

import json

from tests.cluster.site import Site

_PASSING = frozenset({"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"})
"""What comes and goes by itself, whoever is installed."""


def inventory(site: Site) -> set[str]:
    """Return all objects of all kinds that can be listed, as `kind namespace/name`."""
    kinds = site.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    wanted = ",".join(sorted(set(kinds) - _PASSING))
    listed = json.loads(site.kubectl("get", wanted, "--all-namespaces", "-o", "json"))
    return {
        f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}" for each in listed["items"]
    }
