"""The parts of a pod that can be told without making one."""

from pathlib import Path

import pytest

from wisp_local.demo.stage import folders_to_cover
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.namespaces import NetworkNamespace, VethPair, as_user, isolated
from wisp_local.sandbox.processes import base_environment


def test_the_node_half_of_the_wiring() -> None:
    """The pair is made with its other end in the pod at once: it has no name here that could clash."""
    assert VethPair("10.0.0.1", "10.0.0.2", 30).node_batch("/proc/self/fd/7") == (
        "link set lo up\n"
        "link add veth0 type veth peer name eth0 netns /proc/self/fd/7\n"
        "address add 10.0.0.1/30 dev veth0\n"
        "link set veth0 up\n"
    )


def test_the_pod_half_of_the_wiring() -> None:
    """A real address and a route to the metadata service: what the redirect needs, and nothing else."""
    assert VethPair("10.0.0.1", "10.0.0.2", 30).pod_batch() == (
        "link set lo up\naddress add 10.0.0.2/30 dev eth0\nlink set eth0 up\nroute add 169.254.169.254 via 10.0.0.1\n"
    )


def test_a_namespace_is_entered_by_its_descriptor() -> None:
    """No process id and no name: both could be another's."""
    assert NetworkNamespace(7).prefix == ("nsenter", "--net=/proc/self/fd/7", "--")


@pytest.mark.parametrize(
    "attempt, expected",
    [
        pytest.param(
            Attempt(Mode.ROOT, several_users=True),
            "setpriv --pdeathsig=KILL -- unshare --net --mount --ipc --pid --fork --kill-child --",
            id="root",
        ),
        pytest.param(
            Attempt(Mode.USERNS, several_users=True),
            "setpriv --pdeathsig=KILL -- unshare --user --map-root-user --map-auto"
            " --net --mount --ipc --pid --fork --kill-child --",
            id="subordinate",
        ),
        pytest.param(
            Attempt(Mode.USERNS, several_users=False),
            "setpriv --pdeathsig=KILL -- unshare --user --map-root-user"
            " --net --mount --ipc --pid --fork --kill-child --",
            id="single",
        ),
        pytest.param(Attempt(Mode.LOOPBACK, several_users=False), "", id="loopback"),
    ],
)
def test_the_namespaces_of_a_mode(attempt: Attempt, expected: str) -> None:
    """All but loopback get namespaces that end with the process that asked for them."""
    assert " ".join(isolated(attempt)) == expected


@pytest.mark.parametrize(
    "uid, ids", [(1501, "--reuid=1501 --regid=1501 --clear-groups "), (None, "")], ids=["another", "oneself"]
)
def test_whoever_runs_in_the_pod_has_no_privilege(uid: int | None, ids: str) -> None:
    """Another user or oneself: no capability, and none to be gained."""
    assert " ".join(as_user(uid)) == f"setpriv {ids}--bounding-set=-all --inh-caps=-all --no-new-privs --"


@pytest.mark.parametrize(
    "made, expected",
    [
        pytest.param("link", ["run"], id="var-run-is-a-link"),
        pytest.param("folder", ["run", "var/run"], id="var-run-is-a-folder"),
        pytest.param("nothing", ["run", "var"], id="no-var-run"),
    ],
)
def test_what_is_covered_by_memory(made: str, expected: list[str], tmp_path: Path) -> None:
    """/var/run/secrets can be made afterwards, whatever /var/run is."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    if made == "link":
        (tmp_path / "var/run").symlink_to("../run")
    elif made == "folder":
        (tmp_path / "var/run").mkdir()
    assert folders_to_cover(tmp_path) == [tmp_path / each for each in expected]


def test_the_users_environment_stays_out() -> None:
    """Proxies, trust stores and settings of Python and Azure would lead the lab astray."""
    theirs = dict.fromkeys(
        ("HTTP_PROXY", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PYTHONPATH", "AZURE_CLIENT_ID", "HOME"),
        "x",
    )
    made = base_environment({**theirs, "PATH": "/opt/bin", "LD_LIBRARY_PATH": "/opt/lib"})
    assert theirs.keys().isdisjoint(made)
    assert made["PATH"].startswith("/opt/bin:/usr/local/sbin:")
    assert made["LD_LIBRARY_PATH"] == "/opt/lib"


@pytest.mark.parametrize("environment", [{}, {"PATH": ""}], ids=["unset", "empty"])
def test_without_a_path_the_systems_folders_do(environment: dict[str, str]) -> None:
    """An empty part of PATH would be the current folder."""
    assert base_environment(environment)["PATH"].startswith("/usr/local/sbin:")
