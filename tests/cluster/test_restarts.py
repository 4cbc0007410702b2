"""Sidecars that are killed, pods whose network is replaced, and service account tokens that kubelet renews."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.kernel import processes, processes_with
from tests.cluster.manifests import pod
from tests.cluster.node_service import NODES_TOKEN, node_service
from tests.cluster.team import TOKEN, TOKEN_FILE, Response, Team, make_team, payload

pytestmark = pytest.mark.cluster
FRESH = f"{TOKEN}&bypass_cache=true"


@pytest.fixture(name="team", scope="module")
def _team(cluster: Cluster) -> Team:
    team = make_team(cluster, "restarts", pod("app"), pod("other"), pod("third"))
    team.wait_until_ready("app", "other", "third")
    return team


def _status(team: Team, name: str, container: str) -> dict[str, Any]:
    status = team.get("pod", name)["status"]
    both = (*status["containerStatuses"], *status["initContainerStatuses"])
    return next(status for status in both if status["name"] == container)


def test_killed_sidecar_is_restarted(team: Team, tmp_path: Path) -> None:
    """The kubelet starts it again and it answers. Until then nobody does, in particular not the node."""
    sidecar = _status(team, "app", "azwi-proxy")
    responses: list[Response] = []

    def answers() -> bool:
        responses.append(team.ask("app"))
        return responses[-1].status == 200

    with node_service(team.cluster.node, tmp_path) as service:
        os.kill(processes(sidecar["containerID"])[0].pid, signal.SIGKILL)
        eventually(lambda: not processes(sidecar["containerID"]), "the sidecar's end")
        eventually(answers, "the sidecar's answer")
        assert service.requests_from(team.get("pod", "app")["status"]["podIP"]) == []
    team.claims(responses[-1])
    assert not any(NODES_TOKEN in response.text for response in responses)
    eventually(lambda: _status(team, "app", "azwi-proxy")["restartCount"] == 1, "the status")  # is a little late
    assert _status(team, "app", "azwi-proxy-init")["restartCount"] == 0
    assert _status(team, "app", "app")["restartCount"] == 0


def test_new_network_of_a_pod_is_redirected(team: Team, tmp_path: Path) -> None:
    """As after a restart of the node: the pod has another address, and the redirect is set up before anything else."""
    made = team.get("pod", "third")
    (pause,) = (process for process in processes(made["metadata"]["uid"]) if process.command == ["/pause"])
    with node_service(team.cluster.node, tmp_path) as service:
        os.kill(pause.pid, signal.SIGKILL)
        eventually(lambda: _status(team, "third", "azwi-proxy-init")["restartCount"] == 1, "the redirect's second run")
        eventually(lambda: _status(team, "third", "app")["restartCount"] == 1, "the application's second run")
        team.wait_until_ready("third")
        team.claims(team.ask("third"))
        addresses = {pod["status"]["podIP"] for pod in (made, team.get("pod", "third"))}
        assert len(addresses) == 2
        assert [service.requests_from(address) for address in addresses] == [[], []]


def _token_id(team: Team) -> str:
    """Return the id of the service account token in the pod, or nothing while kubelet does not run."""
    done = team.cluster.try_kubectl("exec", "other", "-n", team.namespace, "--", "cat", TOKEN_FILE)
    if done.returncode != 0:
        return ""
    return str(payload(done.stdout)["jti"])


def test_renewed_service_account_token_is_used(team: Team) -> None:
    """A kubelet that starts again renews all tokens. The sidecar's next exchange uses the new one."""
    before = _token_id(team)
    team.claims(team.ask("other", url=FRESH))
    assert before in team.exchange(team.exchanges()[0])
    (kubelet,) = processes_with(f"--root-dir={team.cluster.node.folder / 'kubelet'}")
    os.kill(kubelet.pid, signal.SIGKILL)
    eventually(lambda: _token_id(team) not in ("", before), "the renewed token")
    after = _token_id(team)
    team.claims(team.ask("other", url=FRESH))
    newest = team.exchange(team.exchanges()[0])
    assert after in newest
    assert before not in newest
    assert _status(team, "other", "azwi-proxy")["restartCount"] == 0
