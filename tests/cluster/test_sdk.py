"""The application's view: programs with Microsoft's own libraries, told nothing of wisp."""

import time

import pytest

from tests.cluster import sdk
from tests.cluster.manifests import ENV_MODE, PREFIX, SIDECAR, Manifest, container, pod
from tests.cluster.site import Site
from tests.cluster.team import Team, settle
from wisp.lab.story import SDK_PROGRAM

pytestmark = pytest.mark.cluster
SKIPPING = {**SIDECAR, f"{PREFIX}skip-containers": "app"}
"""Where the webhook's variables are, azure-identity uses workload identity by itself and asks no metadata service."""
MSAL_PROGRAM = """\
import msal, requests
client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
print(client.acquire_token_for_client(resource="https://management.azure.com/")["access_token"])
"""


def _python() -> Manifest:
    return container(
        "app",
        image=sdk.IMAGE,
        env=[{"name": "PYTHONPATH", "value": "/sdk"}],
        volumeMounts=[{"name": "sdk", "mountPath": "/sdk", "readOnly": True}],
    )


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site, tmp_path_factory: pytest.TempPathFactory) -> Team:
    archive = sdk.image(tmp_path_factory.mktemp("sdk"))
    cluster.node.load(archive)
    archive.unlink()  # pytest would keep 250 MB three times
    volumes = [{"name": "sdk", "hostPath": {"path": str(sdk.packages()), "type": "Directory"}}]
    modes = {"intercepted": SKIPPING, "identified": SIDECAR, "told": ENV_MODE}
    pods = [pod(name, _python(), annotations=each, volumes=volumes) for name, each in modes.items()]
    return settle(cluster, "sdk", *pods)


@pytest.mark.parametrize(
    "name, program",
    [("intercepted", SDK_PROGRAM), ("identified", MSAL_PROGRAM), ("told", SDK_PROGRAM), ("told", MSAL_PROGRAM)],
    ids=["azure-identity intercepted", "msal intercepted", "azure-identity by variables", "msal by variables"],
)
def test_an_sdk_gets_the_pods_token(name: str, program: str, team: Team) -> None:
    """Unmodified, with nothing said of any identity: the token is the pod's."""
    team.ready(name)
    token = team.run(name, "python3", "-c", program).strip()
    claims = team.verified(token, time.time())
    assert claims["aud"] in ("https://management.azure.com", "https://management.azure.com/")
