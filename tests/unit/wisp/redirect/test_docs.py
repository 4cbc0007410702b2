"""Documentation of the redirect: the script in redirect.md, and the NetworkPolicy in pod-boundary.md."""

import ipaddress
import re
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

TEXT = (ROOT / "docs/explanation/pod-boundary.md").read_text(encoding="utf-8")


def test_documentation_has_the_script_that_plan_prints() -> None:
    plan = (ROOT / "tests/golden/redirect/up-nft.txt").read_text(encoding="utf-8")
    assert f"```sh\n{plan}```\n" in (ROOT / "docs/reference/redirect.md").read_text(encoding="utf-8")


def _policy() -> dict[str, Any]:
    (found,) = re.findall(r"```yaml\n(apiVersion: networking.*?)```", TEXT, re.DOTALL)
    document = yaml.safe_load(found)
    assert isinstance(document, dict)
    return document


def _allows(address: str) -> bool:
    """Apply the peers of the one egress rule (NetworkPolicyPeer: an ipBlock allows its cidr without `except`)."""
    (rule,) = _policy()["spec"]["egress"]
    blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
    ip = ipaddress.ip_address(address)
    return any(
        ip in ipaddress.ip_network(block["cidr"])
        and not any(ip in ipaddress.ip_network(network) for network in block.get("except", ()))
        for block in blocks
    )


@pytest.mark.parametrize(
    "address, allowed",
    [
        ("169.254.169.254", False),
        ("169.254.169.253", True),
        ("169.254.169.255", True),
        ("168.63.129.16", True),
        ("10.0.0.10", True),
        ("20.190.160.1", True),
        ("2603:1006:2000::1", True),
    ],
)
def test_network_policy_blocks_only_the_metadata_service(address: str, allowed: bool) -> None:  # noqa: FBT001
    """Everything else stays reachable, for example Entra and DNS."""
    assert _allows(address) is allowed


def test_network_policy_is_valid() -> None:
    """Every `except` is within its cidr, as the API server requires, and only fields of NetworkPolicy v1 are used."""
    policy = _policy()
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    assert set(policy["spec"]) == {"podSelector", "policyTypes", "egress"}
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Egress"]
    for rule in policy["spec"]["egress"]:
        assert set(rule) == {"to"}
        for peer in rule["to"]:
            assert set(peer) in ({"ipBlock"}, {"namespaceSelector"})
            block = peer.get("ipBlock", {"cidr": "::/0"})
            network = ipaddress.ip_network(block["cidr"])
            inside = [ipaddress.ip_network(inner) for inner in block.get("except", ())]
            assert all(inner.version == network.version and inner.prefixlen > network.prefixlen for inner in inside)
