"""The cluster DNS: CoreDNS on the node, behind the Service kube-dns, as text; writes and starts none of it.

It answers for Services and pods (Kubernetes, "DNS for Services and Pods"), and that any other name does not exist.
There is no resolver to forward to: pods reach nothing but this machine, and a lookup without an answer takes 10 s.
"""

import json

from wisp_local.lab.node.network import DNS_SERVICE, Network

DOMAIN = "cluster.local"
USER = "system:coredns"
READY_PORT = 8181
"""The port at which CoreDNS answers on /ready, once it knows all Services."""
_PORT = 53
_NAME = "kube-dns"


def corefile(network: Network) -> str:
    """Write the configuration of CoreDNS, whose work folder is the node's folder."""
    return f"""\
.:{_PORT} {{
  bind {network.node}
  ready {network.node}:{READY_PORT}
  errors
  kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
    kubeconfig coredns.conf
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 5
  }}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def resolv_conf(network: Network) -> str:
    """Write the node's resolv.conf, which pods with the dnsPolicy Default get: the same server, no search domains."""
    return f"nameserver {network.node}\n"


def objects(network: Network) -> str:
    """Write the Service, its one endpoint, and what CoreDNS is allowed to read."""
    metadata = {"name": _NAME, "namespace": "kube-system", "labels": {"k8s-app": _NAME}}
    ports = [{"name": name, "port": _PORT, "protocol": protocol} for name, protocol in _PORTS]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": _NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [network.node], "conditions": {"ready": True}}],
        "ports": ports,
    }
    role = {
        "apiVersion": _RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": USER},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding = {
        "apiVersion": _RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [role, binding, endpoints, service]})


_RBAC = "rbac.authorization.k8s.io/v1"
_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
