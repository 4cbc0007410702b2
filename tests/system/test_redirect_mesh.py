"""The redirect in a pod of a service mesh, which intercepts all of the pod's traffic: the sidecar still answers."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import Missing, MissingSkip, need
from tests.unit.wisp.redirect.meshes import IPTABLES, ISTIO, MESHES, Mesh
from tests.unit.wisp.redirect.pod import FIRST_RELEASE, METADATA, NEEDED, PROXY_UID, Pod, pod, programs, wisp_command

pytestmark = pytest.mark.system
NODE = "10.77.0.1"
every_mesh = pytest.mark.parametrize(
    "mesh, tool",
    [pytest.param(mesh, tool, id=f"{mesh.name}-{tool}") for mesh in MESHES for tool in mesh.tools],
)
either_order = pytest.mark.parametrize("mesh_first", [True, False], ids=["the mesh first", "the redirect first"])


@pytest.fixture(name="nft_only")
def _nft_only() -> Iterator[str]:
    """Return a folder for PATH that has the programs of the image."""
    need(*NEEDED)
    with tempfile.TemporaryDirectory() as folder:
        yield str(programs(Path(folder), "nft", "conntrack"))


@contextlib.contextmanager
def _meshed(mesh: Mesh) -> Iterator[Pod]:
    with pod() as inside, inside.answering(f"mesh,127.0.0.1,{mesh.port}"):
        yield inside


def _join(inside: Pod, mesh: Mesh, tool: str) -> None:
    """Install the mesh's rules with `tool`."""
    need(tool)
    command = ("nft", "-f", "-") if tool == "nft" else (f"{tool}-restore", "--noflush")
    done = inside.run(*command, text=mesh.rules)
    if done.returncode != 0:
        raise MissingSkip(Missing(f"a kernel that takes the rules of {mesh.name}", f"{tool} says: {done.stderr}"))


def _assert_intercepted(inside: Pod, mesh: Mesh, sidecar: str = "proxy-8000") -> None:
    """Check that metadata requests reach the sidecar, those of the sidecar the node, and all others the mesh."""
    assert (inside.ask(), inside.ask(uid=0)) == (sidecar, sidecar)
    assert inside.ask(uid=mesh.uid) == sidecar
    assert inside.ask(uid=PROXY_UID) == f"node-{METADATA}-80"
    assert (inside.ask(NODE), inside.ask(NODE, uid=PROXY_UID)) == ("mesh", "mesh")


@either_order
@every_mesh
def test_sidecar_answers_in_a_mesh(mesh: Mesh, tool: str, nft_only: str, *, mesh_first: bool) -> None:
    """The order of installation and the tool that the mesh uses do not matter."""
    with _meshed(mesh) as inside:
        if mesh_first:
            _join(inside, mesh, tool)
        inside.must(*wisp_command("up", "--proxy-port=8000", path=nft_only))
        if not mesh_first:
            _join(inside, mesh, tool)
        _assert_intercepted(inside, mesh)


@either_order
@pytest.mark.parametrize("tool", IPTABLES)
@pytest.mark.parametrize("mesh", [mesh for mesh in MESHES if "-A OUTPUT" in mesh.rules], ids=lambda mesh: mesh.name)
def test_iptables_rule_comes_before_rules_of_a_mesh(mesh: Mesh, tool: str, tmp_path: Path, *, mesh_first: bool) -> None:
    """Without nft, the redirect is the first rule of a chain to which meshes append."""
    need(*NEEDED, tool)
    only = str(programs(tmp_path, *(f"{tool}{ending}" for ending in ("", "-save", "-restore"))))
    with _meshed(mesh) as inside:
        if mesh_first:
            _join(inside, mesh, tool)
        inside.must(*wisp_command("up", path=only))
        if not mesh_first:
            _join(inside, mesh, tool)
        _assert_intercepted(inside, mesh)


@pytest.mark.parametrize("tool", IPTABLES)
def test_chain_of_an_earlier_version_is_replaced(tool: str, nft_only: str) -> None:
    """The mesh intercepts the traffic before it; `up` replaces it atomically and leaves nothing of it."""
    with _meshed(ISTIO) as inside:
        inside.must("nft", "-f", "-", text=FIRST_RELEASE)
        _join(inside, ISTIO, tool)
        result = inside.run(*wisp_command("show", path=nft_only))
        assert (result.returncode, "an earlier version" in result.stderr) == (0, True)
        assert inside.ask() == "mesh"
        labels: list[str] = []
        with inside.asking(labels):
            inside.must(*wisp_command("up", "--proxy-port=8001", path=nft_only))
        assert labels == ["mesh", "proxy-8001"]
        assert inside.rules().count("table ip wisp ") == 1
        _assert_intercepted(inside, ISTIO, "proxy-8001")
        assert inside.run(*wisp_command("show", path=nft_only)).stderr == ""


def test_upgrade_leaves_no_gap(nft_only: str) -> None:
    """While the chain of an earlier version is replaced, no connection bypasses both."""
    with pod() as inside:
        inside.must("nft", "-f", "-", text=FIRST_RELEASE)
        labels: list[str] = []
        with inside.asking(labels):
            inside.must(*wisp_command("up", "--proxy-port=8001", path=nft_only))
        assert labels == ["proxy-8000", "proxy-8001"]


@pytest.mark.parametrize("tool", IPTABLES)
def test_all_traffic_goes_to_the_mesh_after_down(tool: str, nft_only: str) -> None:
    """`down` removes the current chain and that of an earlier version; the mesh's rules stay as they were."""
    with _meshed(ISTIO) as inside:
        _join(inside, ISTIO, tool)
        before = inside.rules()
        for earlier in (False, True):
            if earlier:
                inside.must("nft", "-f", "-", text=FIRST_RELEASE)
            else:
                inside.must(*wisp_command("up", path=nft_only))
            assert inside.rules() != before
            assert "is removed (nft)" in inside.must(*wisp_command("down", path=nft_only))
            assert inside.rules() == before
        assert inside.ask() == "mesh"
