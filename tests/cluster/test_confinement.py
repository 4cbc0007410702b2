"""What the two containers may do: as admitted, and as the kernel has it while they run."""

from typing import NamedTuple

import pytest

from tests.cluster.kernel import NET_ADMIN, Process, memory, processes, watched
from tests.cluster.manifests import PREFIX, SIDECAR, Manifest, pod
from tests.cluster.site import Site
from tests.cluster.team import TOKEN, Team, settle

pytestmark = pytest.mark.cluster
PORT = 8123
LIMIT = 40 * 1024 * 1024  # bytes


class Caught(NamedTuple):
    """A pod with its sidecar, as it is by now, and the redirect's process, as it was."""

    team: Team
    pod: Manifest
    redirect: Process

    def spec(self, name: str) -> Manifest:
        """Return one of the init containers."""
        found: Manifest = next(each for each in self.pod["spec"]["initContainers"] if each["name"] == name)
        return found

    @property
    def sidecar_id(self) -> str:
        """The sidecar's container."""
        statuses = self.pod["status"]["initContainerStatuses"]
        found: str = next(each["containerID"] for each in statuses if each["name"] == "azwi-proxy")
        return found


@pytest.fixture(name="caught", scope="module")
def _caught(cluster: Site) -> Caught:
    annotations = {
        **SIDECAR,
        f"{PREFIX}proxy-sidecar-port": str(PORT),
        f"{PREFIX}proxy-memory-limit": str(LIMIT),
        f"{PREFIX}proxy-cpu-limit": "50m",  # slow enough for the redirect to be seen
    }
    with watched("redirect", "up", f"--proxy-port={PORT}") as redirects:
        team = settle(cluster, "confinement", pod("app", annotations=annotations))
        team.ready("app")
    assert redirects, "the redirect's process was not seen"
    return Caught(team, team.get("pod", "app"), redirects[0])


def test_the_redirect_is_admitted_with_one_capability(caught: Caught) -> None:
    """It is root, with NET_ADMIN and nothing else; neither the token nor a variable is its."""
    redirect = caught.spec("azwi-proxy-init")
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
    assert [each["mountPath"] for each in redirect["volumeMounts"]] == ["/var/run/secrets/kubernetes.io/serviceaccount"]


def test_the_kernel_holds_the_redirect_to_it(caught: Caught) -> None:
    """NET_ADMIN alone, not even NET_RAW, can ever be had; system calls are filtered; and it did its work so."""
    status = caught.redirect.status
    assert {each: int(status[f"Cap{each}"], 16) for each in ("Eff", "Prm", "Bnd")} == dict.fromkeys(
        ("Eff", "Prm", "Bnd"), NET_ADMIN
    )
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    caught.team.claims(caught.team.ask("app"))


def test_the_kernel_holds_the_sidecar_to_nothing(caught: Caught) -> None:
    """No capability at all, user and group 1501, a root that cannot be written to, filtered system calls."""
    running = processes(caught.sidecar_id)
    assert "/proxy" in running[0].command
    for each in running:
        assert each.capabilities == {0}
        assert (each.status["NoNewPrivs"], each.status["Seccomp"]) == ("1", "2")
        assert {*each.status["Uid"].split(), *each.status["Gid"].split()} == {"1501"}
        assert "ro" in each.mount_options("/")


def test_the_sidecar_stays_within_its_memory(caught: Caught) -> None:
    """Its control group has the annotated limit; with the exchange process at work it never used all of that."""
    team = caught.team
    for number in range(5):
        assert team.ask("app", url=TOKEN.replace("https://management.azure.com/", f"api://{number}")).status < 500
    used, limit = memory(caught.sidecar_id)
    assert limit == LIMIT
    assert used < LIMIT
    resident = {each.pid: int(each.status["VmRSS"].split()[0]) for each in processes(caught.sidecar_id)}
    assert min(resident.values()) < 16 * 1024  # KiB: the sidecar's own
    (sidecar,) = (
        each for each in team.get("pod", "app")["status"]["initContainerStatuses"] if each["name"] == "azwi-proxy"
    )
    assert (sidecar["restartCount"], sidecar["ready"]) == (0, True)
