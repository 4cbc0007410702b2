"""The application's view: programs with Microsoft's own libraries, told nothing of wisp."""

import time

import pytest

from tests.cluster import sdk
from tests.cluster.identity import MOUNT, VARIABLES
from tests.cluster.manifests import ENV_MODE, PROXY_ONLY, SIDECAR
from tests.cluster.site import Site
from tests.cluster.team import Team, settle
from wisp_local.demo.steps import SDK_PROGRAM

pytestmark = pytest.mark.cluster
MODES = {
    "intercepted": PROXY_ONLY,
    "identified": SIDECAR,
    "told": ENV_MODE,
    "told-alone": {**ENV_MODE, **PROXY_ONLY},
}
DEFAULT_PROGRAM = """\
from azure.identity import DefaultAzureCredential
credential = DefaultAzureCredential()
print(credential.get_token("https://management.azure.com/.default").token)
assert type(credential._successful_credential).__name__ == "ManagedIdentityCredential"
"""
"""Where the webhook's variables are, both credentials exchange the token by themselves and ask no metadata service."""
MSAL_PROGRAM = """\
import msal, requests
client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
print(client.acquire_token_for_client(resource="https://management.azure.com/")["access_token"])
"""


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site, tmp_path_factory: pytest.TempPathFactory) -> Team:
    sdk.load(cluster, tmp_path_factory.mktemp("sdk"))
    return settle(cluster, "sdk", *(sdk.python_pod(name, annotations) for name, annotations in MODES.items()))


@pytest.mark.parametrize(
    "name, program",
    [
        pytest.param("intercepted", SDK_PROGRAM, id="azure-identity intercepted"),
        pytest.param("intercepted", DEFAULT_PROGRAM, id="azure-identity's chain intercepted"),
        pytest.param("identified", MSAL_PROGRAM, id="msal intercepted"),
        pytest.param("told", MSAL_PROGRAM, id="msal by variables"),
        pytest.param("told", SDK_PROGRAM, id="azure-identity by variables"),
        pytest.param("told-alone", SDK_PROGRAM, id="azure-identity by variables alone"),
        pytest.param("told-alone", DEFAULT_PROGRAM, id="azure-identity's chain by variables alone"),
    ],
)
def test_an_sdk_gets_the_pods_token(name: str, program: str, team: Team) -> None:
    """Unmodified, with nothing said of any identity: the token is the pod's."""
    team.ready(name)
    token = team.run(name, "python3", "-c", program).strip()
    claims = team.verified(token, time.time())
    assert claims["aud"] in ("https://management.azure.com", "https://management.azure.com/")


@pytest.mark.parametrize("name", [each for each in MODES if PROXY_ONLY.items() <= MODES[each].items()])
def test_the_application_never_has_the_assertion(name: str, team: Team) -> None:
    """Neither the variables nor the file are in its container, as the kernel shows it."""
    team.ready(name)
    environment = team.run(name, "env")
    assert [each for each in VARIABLES if f"{each}=" in environment] == []
    assert team.run(name, "sh", "-c", f"test -e {MOUNT} && echo there || echo absent").strip() == "absent"
    assert MOUNT not in team.run(name, "cat", "/proc/self/mountinfo")
