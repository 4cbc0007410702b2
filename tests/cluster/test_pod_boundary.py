"""The NetworkPolicy in docs/explanation/pod-boundary.md, as a real API server takes it."""

import re

import pytest

from tests.cluster.site import Site
from tests.cluster.team import settle
from tests.support.paths import ROOT

pytestmark = pytest.mark.cluster
TEXT = (ROOT / "docs/explanation/pod-boundary.md").read_text(encoding="utf-8")


def test_the_network_policy_is_valid(cluster: Site) -> None:
    """Applied as it stands, with strict validation: no unknown field, no wrong value."""
    team = settle(cluster, "boundary")
    (policy,) = re.findall(r"```yaml\n(apiVersion: networking.*?)```", TEXT, re.DOTALL)
    done = cluster.try_kubectl(
        "apply", "-n", team.namespace, "--dry-run=server", "--validate=strict", "-f", "-", given=policy
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no-node-metadata created" in done.stdout
