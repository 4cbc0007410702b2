"""The cluster DNS as text: it listens on the node alone, and only reads."""

import json
from typing import Any

from wisp_local.lab.node.dns import USER, corefile, objects, resolv_conf
from wisp_local.lab.node.network import DNS_SERVICE, Network

NETWORK = Network(3)


def test_it_listens_on_the_node_alone() -> None:
    """Several nodes are on one machine."""
    text = corefile(NETWORK)
    assert "bind 10.201.3.2\n" in text
    assert "ready 10.201.3.2:8181\n" in text
    assert "forward" not in text


def test_the_service_leads_to_the_node() -> None:
    """By UDP and TCP; the node's own resolv.conf names it directly."""
    service, endpoints = (_object(kind) for kind in ("Service", "EndpointSlice"))
    assert service["spec"]["clusterIP"] == DNS_SERVICE
    assert [each["addresses"] for each in endpoints["endpoints"]] == [["10.201.3.2"]]
    assert [(each["port"], each["protocol"]) for each in endpoints["ports"]] == [(53, "UDP"), (53, "TCP")]
    assert service["spec"]["ports"] == endpoints["ports"]
    assert endpoints["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    assert resolv_conf(NETWORK) == "nameserver 10.201.3.2\n"


def test_it_may_read_what_it_answers_from() -> None:
    """And nothing else: no Secrets, no writing."""
    role, binding = (_object(kind) for kind in ("ClusterRole", "ClusterRoleBinding"))
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"services", "namespaces", "endpointslices"}
    assert binding["subjects"][0]["name"] == USER
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def _object(kind: str) -> Any:
    return next(each for each in json.loads(objects(NETWORK))["items"] if each["kind"] == kind)
