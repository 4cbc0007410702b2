"""A pod that is being shut down: its application may need a token to say good-bye."""

import pytest

from tests.cluster.manifests import container, pod
from tests.cluster.site import Site
from tests.cluster.team import TOKEN, curl, heard, settle

pytestmark = pytest.mark.cluster
ASKS = " ".join(f'"{each}"' for each in curl(f"{TOKEN}&bypass_cache=true", "-H", "Metadata:true"))
SAYS_GOOD_BYE = f"trap 'sleep 1; {ASKS}; exit' TERM; sleep infinity & wait"


def test_the_application_can_ask_to_the_end(cluster: Site) -> None:
    """The sidecar ends after the pod's own containers: one that asks a second after it was told to end is answered."""
    asks_late = pod("app", container("app", "sh", "-c", SAYS_GOOD_BYE), terminationGracePeriodSeconds=30)
    team = settle(cluster, "shutdown", asks_late)
    team.ready("app")
    team.kubectl("patch", "pod", "app", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')  # ends it, and leaves its log
    team.ended("app", "Failed")
    team.claims(heard(team.kubectl("logs", "app")))
    ends = team.get("pod", "app")["status"]["initContainerStatuses"]
    assert [each["state"]["terminated"]["exitCode"] for each in ends] == [0, 0]
