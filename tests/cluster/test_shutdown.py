"""Shutdown of a pod: its application may need a token to end properly."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.manifests import container, pod
from tests.cluster.team import TOKEN, curl, make_team, parse_response

pytestmark = pytest.mark.cluster
ASKS = " ".join(f'"{word}"' for word in curl(f"{TOKEN}&bypass_cache=true", "-H", "Metadata:true"))
ASKS_AT_THE_END = f"trap 'sleep 1; {ASKS}; exit' TERM; sleep infinity & wait"


def test_application_gets_tokens_until_it_ends(cluster: Cluster) -> None:
    """The sidecar ends after the pod's own containers. It answers a request a second after SIGTERM."""
    asks_late = pod("app", container("app", "sh", "-c", ASKS_AT_THE_END), terminationGracePeriodSeconds=30)
    team = make_team(cluster, "shutdown", asks_late)
    team.wait_until_ready("app")
    team.kubectl("patch", "pod", "app", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')  # ends it, and leaves its log
    team.wait_until_ended("app", "Failed")
    team.claims(parse_response(team.kubectl("logs", "app")))
    ends = team.get("pod", "app")["status"]["initContainerStatuses"]
    assert [status["state"]["terminated"]["exitCode"] for status in ends] == [0, 0]
