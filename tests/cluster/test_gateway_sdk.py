"""Applications with SDKs that opt in to the token proxy, in a pod without the sidecar.

The programs are those of the SDK matrix. They run in the pod's network, with its DNS, its variables and its service
account token, but with the runtimes of this machine: images of Java and Node.js would have to be made first.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import gateway as gate
from tests.cluster.api import api
from tests.cluster.cluster import Cluster, eventually
from tests.cluster.gateway import BINDING
from tests.cluster.kernel import processes
from tests.cluster.manifests import ACCOUNT, account, namespace, pod
from tests.cluster.team import TOKEN_FILE, Team
from tests.interop.build import Built, MissingToolError, build, cache_folder
from tests.interop.cells import Row, token_proxy_rows
from tests.interop.client_run import parse_answer
from tests.interop.recipes import MANAGEMENT
from tests.support.needs import Missing, MissingSkip

pytestmark = pytest.mark.cluster
PLACE = "token-proxy"
DENIED = "without-grant"
_POD_DNS = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
_TIMEOUT = 120  # seconds


@pytest.fixture(name="team", scope="module")
def _team(gateway: Cluster) -> Iterator[Team]:
    """Make a pod with a grant and one without, both without the sidecar."""
    team = Team(gateway, PLACE, gate.identity(gateway, PLACE))
    gateway.apply(namespace(PLACE, {}))
    team.make(account(team.identity.client_id), account(team.identity.client_id, DENIED))
    granted = f"--service-account={PLACE}/{ACCOUNT}"
    gate.wisp_gateway(gateway, "grant", f"--client-id={team.identity.client_id}", granted)
    team.make(
        pod("app", annotations=BINDING),
        pod(DENIED, annotations=BINDING, serviceAccountName=DENIED),
    )
    team.wait_until_ready("app", DENIED)
    yield team
    gateway.kubectl("delete", "namespace", PLACE, "--wait=false")
    gate.remove_grants(gateway, team.identity.client_id)


def _build(row: Row) -> Built:
    try:
        return build(row.recipe, cache_folder())
    except MissingToolError as error:
        raise MissingSkip(Missing(f"the tools of the {row.client} client", str(error))) from None


def _run(team: Team, name: str, row: Row) -> Mapping[str, Any]:
    """Run the program as if it was in the pod's container; return the line that it prints."""
    made = team.get("pod", name)
    (status,) = made["status"]["containerStatuses"]
    first = processes(status["containerID"])[0].pid
    root = Path(f"/proc/{first}/root")
    spec = made["spec"]["containers"][0]
    assert [container["name"] for container in made["spec"]["containers"]] == ["app"]
    variables = {variable["name"]: variable["value"] for variable in spec["env"]}
    # In the image, /var/run is a link, which would lead to this machine's.
    variables["AZURE_FEDERATED_TOKEN_FILE"] = f"{root}{TOKEN_FILE.removeprefix('/var')}"
    with tempfile.TemporaryDirectory() as home:
        # mount(8) would resolve the path in the pod to one of this machine.
        resolver = shutil.copy(f"{root}/etc/resolv.conf", home)
        prefix = (*gate.inside(team.cluster.node, first), "unshare", "--mount", "--", "sh", "-ec", _POD_DNS, "sh")
        done = subprocess.run(
            [*prefix, resolver, *_build(row).command, row.mode, MANAGEMENT],
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": home, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
    assert done.stdout, done.stderr
    printed: Mapping[str, Any] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize("row", token_proxy_rows(), ids=lambda row: row.client)
def test_sdk_gets_the_token_from_the_gateway(row: Row, team: Team) -> None:
    """For the identity, and the resource. Entra gets no request of the pod."""
    before = team.exchanges()
    answer: Any = None

    def granted() -> bool:
        nonlocal answer
        answer = parse_answer(json.dumps(_run(team, "app", row)))
        assert answer.ok or "kubectl create" in answer.error, answer.error
        return bool(answer.ok)

    eventually(granted, "the grant")
    identity = team.identity
    assert answer.claims == {"appid": identity.client_id, "oid": identity.principal_id, "aud": MANAGEMENT}
    assert team.exchanges() == before


@pytest.fixture(name="replaced", scope="module")
def _replaced(team: Team) -> Team:
    """Give the pods of before, when the gateway has another CA."""
    with api(team.cluster) as administrator:
        caller = gate.Caller("caller", gate.token(administrator, PLACE, ACCOUNT), team.identity.client_id)
    gate.replace_certificates(team.cluster)
    gate.wait_for_newest_ca(team.cluster, caller)
    return team


@pytest.mark.parametrize("row", token_proxy_rows(), ids=lambda row: row.client)
def test_sdk_trusts_the_gateway_after_its_ca_was_replaced(row: Row, replaced: Team) -> None:
    """Its variables have the old CA, which has signed the new one."""
    answer = parse_answer(json.dumps(_run(replaced, "app", row)))
    assert answer.ok, answer.error


@pytest.mark.parametrize("row", token_proxy_rows(), ids=lambda row: row.client)
def test_error_of_the_sdk_has_the_command(row: Row, team: Team) -> None:
    """Which grants the identity to the pod's service account."""
    printed = _run(team, DENIED, row)
    assert not printed["ok"]
    assert f"--serviceaccount={PLACE}:{DENIED}" in printed["error"]
