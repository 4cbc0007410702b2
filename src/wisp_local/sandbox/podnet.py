"""A pod's network on this machine: a namespace, wired to a node's, in which metadata traffic goes to the sidecar."""

from wisp.base.errors import ToolError
from wisp_local.sandbox.netns import NetworkNamespace, Wiring, new_namespace, wire
from wisp_local.sandbox.processes import Place, run, tail


def pod_network(node: Place, python: str, wiring: Wiring, proxy_port: int) -> NetworkNamespace:
    """Make the network of a pod on `node`, which is this process's own, and put the redirect to `proxy_port` in force.

    That is what the init container does, with the same command. Raises ToolError or OSError with the words of what
    refused.
    """
    pod = new_namespace()
    wire(pod, wiring)
    place = Place(pod.prefix, node.environment, (pod.descriptor,))
    done = run(place, python, "-m", "wisp", "redirect", "up", "--proxy-port", str(proxy_port))
    if done.status != 0:
        raise ToolError(" ".join(tail(done.complaint)).removeprefix("error: "), hint="see docs/reference/redirect.md")
    return pod
