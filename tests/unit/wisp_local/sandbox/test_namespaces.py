"""Command prefixes and network configuration of a pod on this machine."""

import pytest

from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.namespaces import NetworkNamespace, VethPair, as_user, isolated


def test_node_end_of_the_veth_pair() -> None:
    """The other end is created in the pod at once: its name cannot clash with one of the node."""
    assert VethPair("10.0.0.1", "10.0.0.2", 30).node_batch("/proc/self/fd/7") == (
        "link set lo up\n"
        "link add veth0 type veth peer name eth0 netns /proc/self/fd/7\n"
        "address add 10.0.0.1/30 dev veth0\n"
        "link set veth0 up\n"
    )


def test_pod_end_of_the_veth_pair_has_a_route_to_the_metadata_service() -> None:
    assert VethPair("10.0.0.1", "10.0.0.2", 30).pod_batch() == (
        "link set lo up\naddress add 10.0.0.2/30 dev eth0\nlink set eth0 up\nroute add 169.254.169.254 via 10.0.0.1\n"
    )


def test_a_namespace_is_entered_by_its_descriptor() -> None:
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
def test_namespaces_of_each_mode_end_with_the_parent(attempt: Attempt, expected: str) -> None:
    assert " ".join(isolated(attempt)) == expected


@pytest.mark.parametrize(
    "uid, ids", [(1501, "--reuid=1501 --regid=1501 --clear-groups "), (None, "")], ids=["another", "oneself"]
)
def test_programs_in_the_pod_have_no_capabilities(uid: int | None, ids: str) -> None:
    assert " ".join(as_user(uid)) == f"setpriv {ids}--bounding-set=-all --inh-caps=-all --no-new-privs --"
