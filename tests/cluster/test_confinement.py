"""The privileges of the two containers, in the admitted pod and in the kernel while they run."""

from typing import NamedTuple

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.kernel import NET_ADMIN, Process, memory, processes, watch_processes
from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, pod
from tests.cluster.team import TOKEN, Team, make_team

pytestmark = pytest.mark.cluster
PORT = 8123
LIMIT = 40 * 1024 * 1024  # bytes


class ConfinedPod(NamedTuple):
    """A running pod with the sidecar, and the redirect's process, which has ended."""

    team: Team
    pod: Manifest
    redirect: Process

    def spec(self, name: str) -> Manifest:
        """Return the specification of an init container."""
        found: Manifest = next(
            container for container in self.pod["spec"]["initContainers"] if container["name"] == name
        )
        return found

    @property
    def sidecar_id(self) -> str:
        """The id of the sidecar's container."""
        statuses = self.pod["status"]["initContainerStatuses"]
        found: str = next(status["containerID"] for status in statuses if status["name"] == "azwi-proxy")
        return found


@pytest.fixture(name="confined", scope="module")
def _confined(cluster: Cluster) -> ConfinedPod:
    annotations = {
        **SIDECAR,
        f"{PREFIX}proxy-sidecar-port": str(PORT),
        f"{PREFIX}proxy-memory-limit": str(LIMIT),
        f"{PREFIX}proxy-cpu-limit": "50m",  # slow enough for the redirect to be seen
    }
    with watch_processes("redirect", "up", f"--proxy-port={PORT}") as redirects:
        team = make_team(cluster, "confinement", pod("app", annotations=annotations))
        team.wait_until_ready("app")
    assert redirects, "the redirect's process was not seen"
    return ConfinedPod(team, team.get("pod", "app"), redirects[0])


def test_redirect_is_admitted_with_one_capability(confined: ConfinedPod) -> None:
    """It is root with only NET_ADMIN, and has neither the token nor a variable."""
    redirect = confined.spec("azwi-proxy-init")
    assert redirect["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert "env" not in redirect
    assert [mount["mountPath"] for mount in redirect["volumeMounts"]] == [
        "/var/run/secrets/kubernetes.io/serviceaccount"
    ]


def test_redirect_runs_with_one_capability(confined: ConfinedPod) -> None:
    """It can get no other, not even NET_RAW. System calls are filtered, and the redirect works."""
    status = confined.redirect.status
    assert {mask: int(status[f"Cap{mask}"], 16) for mask in ("Eff", "Prm", "Bnd")} == dict.fromkeys(
        ("Eff", "Prm", "Bnd"), NET_ADMIN
    )
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    confined.team.claims(confined.team.ask("app"))


def test_sidecar_runs_without_privileges(confined: ConfinedPod) -> None:
    """It has no capability, user and group 1501, a read-only root, and filtered system calls."""
    running = processes(confined.sidecar_id)
    assert "/proxy" in running[0].command
    for process in running:
        assert process.capabilities == {0}
        assert (process.status["NoNewPrivs"], process.status["Seccomp"]) == ("1", "2")
        assert {*process.status["Uid"].split(), *process.status["Gid"].split()} == {"1501"}
        assert "ro" in process.mount_options("/")


def test_sidecar_stays_below_its_memory_limit(confined: ConfinedPod) -> None:
    """The limit is the annotated one, and includes the exchange process."""
    team = confined.team
    for number in range(5):
        assert team.ask("app", url=TOKEN.replace("https://management.azure.com/", f"api://{number}")).status < 500
    used, limit = memory(confined.sidecar_id)
    assert limit == LIMIT
    assert used < LIMIT
    resident = {process.pid: int(process.status["VmRSS"].split()[0]) for process in processes(confined.sidecar_id)}
    assert min(resident.values()) < 16 * 1024  # KiB: the sidecar's own
    (sidecar,) = (
        status for status in team.get("pod", "app")["status"]["initContainerStatuses"] if status["name"] == "azwi-proxy"
    )
    assert (sidecar["restartCount"], sidecar["ready"]) == (0, True)
