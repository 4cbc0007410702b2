"""A .NET program in a pod lists the subscription of the local cloud, which the pod knows as management.azure.com.

The program is the one that the SDKs' matrix runs (tests/interop): Azure's MCP server, with Azure.Identity.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster import sdk
from tests.cluster.cluster import Cluster
from tests.cluster.manifests import ENV_MODE, PROXY_ONLY, Manifest, container, pod
from tests.cluster.team import Team, make_team
from tests.interop.build import build, cache_folder
from tests.interop.local_cloud import RESOURCE_MANAGER
from tests.interop.recipes import DOTNET
from tests.unit.wisp_local.cloud.process import running
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.cluster
_MODES = {"intercepted": PROXY_ONLY, "env-mode": {**ENV_MODE, **PROXY_ONLY}}
_ENVIRONMENT = {
    "AZURE_MCP_COLLECT_TELEMETRY": "false",
    "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",  # there is no ICU in the image
    "SSL_CERT_FILE": "/ca/ca.pem",
}


def _pod(name: str, annotations: dict[str, str], host: str) -> Manifest:
    """Return a pod with the program, for which `host` is Azure's Resource Manager."""
    mounts = {"program": "/program", "ca": "/ca"}
    application = container(
        "app",
        image=sdk.IMAGE,
        env=[{"name": key, "value": value} for key, value in _ENVIRONMENT.items()],
        volumeMounts=[{"name": key, "mountPath": path, "readOnly": True} for key, path in mounts.items()],
    )
    folder = str(build(DOTNET, cache_folder()).folder)
    volumes = [
        {"name": "program", "hostPath": {"path": folder, "type": "Directory"}},
        {"name": "ca", "configMap": {"name": "ca"}},
    ]
    aliases = [{"ip": host, "hostnames": [RESOURCE_MANAGER]}]
    return pod(name, application, annotations=annotations, volumes=volumes, hostAliases=aliases)


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Let the cloud answer as management.azure.com at the port that the program uses, and make pods with it."""
    sdk.load(cluster, tmp_path_factory.mktemp("sdk"))
    host = str(urlsplit(cluster.cloud.url).hostname)
    with running(cluster.cloud.state, "--host", host, "--advertise", RESOURCE_MANAGER, port=443):
        authority = {"ca.pem": Path(cluster.cloud.ca_file).read_text(encoding="utf-8")}
        trusted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": authority}
        pods = (_pod(name, annotations, host) for name, annotations in _MODES.items())
        yield make_team(cluster, "dotnet", trusted, *pods)


@pytest.mark.parametrize("name", _MODES)
def test_dotnet_program_lists_the_subscription(name: str, team: Team) -> None:
    """Azure Resource Manager accepts the pod's token."""
    team.wait_until_ready(name)
    text = team.run(name, "sh", "-c", "/program/node_modules/@azure/mcp-*/dist/azmcp subscription list")
    answer = json.loads(text[text.find("\n{") + 1 :])
    with Store(team.cluster.cloud.state) as store:
        there = store.subscription()
    found = [
        (subscription["subscriptionId"], subscription["tenantId"])
        for subscription in answer["results"]["subscriptions"]
    ]
    assert found == [(there.id, there.tenant_id)]
    assert len(team.exchanges()) > 0
