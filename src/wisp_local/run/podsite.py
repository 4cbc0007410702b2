"""The site that takes namespaces: a pod's network for the command and the sidecar, beside a node's for the cloud.

Nobody but the command and its children is in the pod's network, and nothing but the node's end of its one link can be
reached from there.
"""

import sys
from collections.abc import Mapping

from wisp_local.run.serving import Site
from wisp_local.sandbox.netns import NetworkNamespace, Wiring
from wisp_local.sandbox.podnet import pod_network
from wisp_local.sandbox.processes import Place

_WIRING = Wiring()
_PORTS = (8443, 8000)
_FLAGS = ("--passthrough", "none")  # what is sent to 169.254.169.254 from there, the sidecar's own too, comes to it


def in_pod(environment: Mapping[str, str]) -> tuple[Site, NetworkNamespace]:
    """Make the site in the network namespace of this process; raises ToolError or OSError where it cannot be."""
    node = Place((), environment)
    pod = pod_network(node, sys.executable, _WIRING, _PORTS[1])
    place = Place(pod.prefix, environment, (pod.descriptor,))
    site = Site(node, place, _PORTS, _WIRING.node, network=pod.entered, flags=_FLAGS)
    return site, pod
