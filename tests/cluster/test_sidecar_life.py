"""What happens to a sidecar that is killed, and to its service account token, which kubelet renews."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kernel import processes, those_with
from tests.cluster.manifests import pod
from tests.cluster.node_service import NODES_TOKEN, node_service
from tests.cluster.site import Site, eventually
from tests.cluster.team import TOKEN, TOKEN_FILE, Heard, Team, payload, settle

pytestmark = pytest.mark.cluster
FRESH = f"{TOKEN}&bypass_cache=true"


@pytest.fixture(name="team", scope="module")
def _team(cluster: Site) -> Team:
    team = settle(cluster, "lives", pod("app"), pod("other"), pod("third"))
    team.ready("app", "other", "third")
    return team


def _status(team: Team, name: str, container: str) -> dict[str, Any]:
    status = team.get("pod", name)["status"]
    both = (*status["containerStatuses"], *status["initContainerStatuses"])
    return next(each for each in both if each["name"] == container)


def test_a_killed_sidecar_is_back(team: Team, tmp_path: Path) -> None:
    """The kubelet starts it again and it answers; until then nobody does, and the node least of all."""
    sidecar = _status(team, "app", "azwi-proxy")
    heard: list[Heard] = []

    def answers() -> bool:
        heard.append(team.ask("app"))
        return heard[-1].status == 200

    with node_service(team.site.node, tmp_path) as service:
        os.kill(processes(sidecar["containerID"])[0].pid, signal.SIGKILL)
        eventually(lambda: not processes(sidecar["containerID"]), "the sidecar's end")
        eventually(answers, "the sidecar's answer")
        assert service.asked_by(team.get("pod", "app")["status"]["podIP"]) == []
    team.claims(heard[-1])
    assert not any(NODES_TOKEN in each.text for each in heard)
    eventually(lambda: _status(team, "app", "azwi-proxy")["restartCount"] == 1, "the status")  # is a little late
    assert _status(team, "app", "azwi-proxy-init")["restartCount"] == 0
    assert _status(team, "app", "app")["restartCount"] == 0


def test_a_network_made_anew_is_redirected_anew(team: Team, tmp_path: Path) -> None:
    """As when the node starts again: the pod has another address and no redirect until that is put up first of all."""
    made = team.get("pod", "third")
    (pause,) = (each for each in processes(made["metadata"]["uid"]) if each.command == ["/pause"])
    with node_service(team.site.node, tmp_path) as service:
        os.kill(pause.pid, signal.SIGKILL)
        eventually(lambda: _status(team, "third", "azwi-proxy-init")["restartCount"] == 1, "the redirect's second run")
        eventually(lambda: _status(team, "third", "app")["restartCount"] == 1, "the application's second run")
        team.ready("third")
        team.claims(team.ask("third"))
        addresses = {each["status"]["podIP"] for each in (made, team.get("pod", "third"))}
        assert len(addresses) == 2
        assert [service.asked_by(each) for each in addresses] == [[], []]


def _token_id(team: Team) -> str:
    """Return what tells the service account token in the pod from others, or nothing while kubelet is away."""
    done = team.site.try_kubectl("exec", "other", "-n", team.namespace, "--", "cat", TOKEN_FILE)
    if done.returncode != 0:
        return ""
    return str(payload(done.stdout)["jti"])


def test_a_renewed_service_account_token_is_read(team: Team) -> None:
    """A kubelet that starts anew renews every token on disk; the sidecar's next exchange is by the new one."""
    before = _token_id(team)
    team.claims(team.ask("other", url=FRESH))
    assert before in team.exchange(team.exchanges()[0])
    (kubelet,) = those_with(f"--root-dir={team.site.node.folder / 'kubelet'}")
    os.kill(kubelet.pid, signal.SIGKILL)
    eventually(lambda: _token_id(team) not in ("", before), "the renewed token")
    after = _token_id(team)
    team.claims(team.ask("other", url=FRESH))
    newest = team.exchange(team.exchanges()[0])
    assert after in newest
    assert before not in newest
    assert _status(team, "other", "azwi-proxy")["restartCount"] == 0
