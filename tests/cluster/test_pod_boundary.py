"""The NetworkPolicy in docs/explanation/pod-boundary.md, checked by a real API server."""

import re

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.team import make_team
from tests.support.paths import ROOT

pytestmark = pytest.mark.cluster
TEXT = (ROOT / "docs/explanation/pod-boundary.md").read_text(encoding="utf-8")


def test_the_network_policy_is_valid(cluster: Cluster) -> None:
    """With strict validation: no unknown field, no wrong value."""
    team = make_team(cluster, "boundary")
    (policy,) = re.findall(r"```yaml\n(apiVersion: networking.*?)```", TEXT, re.DOTALL)
    done = cluster.try_kubectl(
        "apply", "-n", team.namespace, "--dry-run=server", "--validate=strict", "-f", "-", given=policy
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no-node-metadata created" in done.stdout
