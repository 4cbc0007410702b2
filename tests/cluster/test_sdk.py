"""Applications with Microsoft's own libraries, which know nothing of wisp."""

import time

import pytest

from tests.cluster import sdk
from tests.cluster.cluster import Cluster
from tests.cluster.identity import MOUNT, VARIABLES
from tests.cluster.manifests import ENV_MODE, PROXY_ONLY, SIDECAR
from tests.cluster.team import Team, make_team
from wisp_local.demo.steps import SDK_PROGRAM

pytestmark = pytest.mark.cluster
MODES = {
    "intercepted": PROXY_ONLY,
    "identified": SIDECAR,
    "env-mode": ENV_MODE,
    "env-mode-only": {**ENV_MODE, **PROXY_ONLY},
}
DEFAULT_PROGRAM = """\
from azure.identity import DefaultAzureCredential
credential = DefaultAzureCredential()
print(credential.get_token("https://management.azure.com/.default").token)
assert type(credential._successful_credential).__name__ == "ManagedIdentityCredential"
"""
"""With the webhook's variables, it would exchange the token itself and ask no metadata service."""
MSAL_PROGRAM = """\
import msal, requests
client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
print(client.acquire_token_for_client(resource="https://management.azure.com/")["access_token"])
"""


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Team:
    sdk.load(cluster, tmp_path_factory.mktemp("sdk"))
    return make_team(cluster, "sdk", *(sdk.python_pod(name, annotations) for name, annotations in MODES.items()))


@pytest.mark.parametrize(
    "name, program",
    [
        pytest.param("intercepted", SDK_PROGRAM, id="azure-identity intercepted"),
        pytest.param("intercepted", DEFAULT_PROGRAM, id="azure-identity's chain intercepted"),
        pytest.param("identified", MSAL_PROGRAM, id="msal intercepted"),
        pytest.param("env-mode", MSAL_PROGRAM, id="msal by variables"),
        pytest.param("env-mode", SDK_PROGRAM, id="azure-identity by variables"),
        pytest.param("env-mode-only", SDK_PROGRAM, id="azure-identity by variables alone"),
        pytest.param("env-mode-only", DEFAULT_PROGRAM, id="azure-identity's chain by variables alone"),
    ],
)
def test_sdk_gets_the_pods_token(name: str, program: str, team: Team) -> None:
    """Without a change and without naming an identity."""
    team.wait_until_ready(name)
    token = team.run(name, "python3", "-c", program).strip()
    claims = team.verified(token, time.time())
    assert claims["aud"] in ("https://management.azure.com", "https://management.azure.com/")


@pytest.mark.parametrize("name", [name for name in MODES if PROXY_ONLY.items() <= MODES[name].items()])
def test_application_never_has_the_assertion(name: str, team: Team) -> None:
    """Its container has neither the variables nor the file."""
    team.wait_until_ready(name)
    environment = team.run(name, "env")
    assert [variable for variable in VARIABLES if f"{variable}=" in environment] == []
    assert team.run(name, "sh", "-c", f"test -e {MOUNT} && echo there || echo absent").strip() == "absent"
    assert MOUNT not in team.run(name, "cat", "/proc/self/mountinfo")
