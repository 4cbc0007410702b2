"""A pod that is being shut down: its application may need a token to say good-bye."""

import pytest

from tests.cluster.manifests import container, pod
from tests.cluster.site import Site
from tests.cluster.team import TOKEN, curl, heard, settle

pytestmark = pytest.mark.cluster
QUOTED = " ".join(f"'{each}'" for each in curl(f"{TOKEN}&bypass_cache=true", "-H", "Metadata:true"))
SAYS_GOOD_BYE = f"trap '' TERM; sleep 3 & wait; trap 0; exec {QUOTED}"


def test_the_application_can_ask_to_the_end(cluster: Site) -> None:
    """The sidecar ends after the pod's own containers: one that asks when told to end, and later, gets its token."""
    says = f"trap 'sleep 1; {QUOTED.replace(chr(39), chr(34))}; exit 0' TERM; sleep infinity & wait"
    ends = container("app", "sh", "-c", says)
    team = settle(
        cluster, "shutdown", None, pod("app", ends, activeDeadlineSeconds=4, terminationGracePeriodSeconds=30)
    )
    team.ended("app", "Failed")
    said = heard(team.kubectl("logs", "app"))
    team.claims(said)
    statuses = team.get("pod", "app")["status"]["initContainerStatuses"]
    (sidecar,) = (each["state"]["terminated"] for each in statuses if each["name"] == "azwi-proxy")
    assert sidecar["exitCode"] == 0
