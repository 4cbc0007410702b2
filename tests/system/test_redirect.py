"""The redirect with real packets: in network namespaces, with nft and both iptables."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import NAMESPACES, Missing, MissingSkip, need
from tests.unit.wisp.redirect.pod import (
    METADATA,
    NEEDED,
    NOBODY,
    PROXY_UID,
    WIRE_SERVER,
    Pod,
    confine,
    pod,
    programs,
    python_for,
    wisp_command,
)

pytestmark = pytest.mark.system

BACKENDS = ("nft", "iptables-nft", "iptables-legacy")
ENOUGH = {"nft": ("net_admin",), "iptables-nft": ("net_admin",), "iptables-legacy": ("net_admin", "net_raw")}
FOREIGN_NFT = """
table ip other {
	chain output {
		type nat hook output priority -100; policy accept;
		ip daddr 10.9.9.9 tcp dport 1 redirect to :1
	}
}
"""
FOREIGN_IPTABLES = "*nat\n:THEIRS - [0:0]\n-A OUTPUT -d 10.9.9.9/32 -j THEIRS\nCOMMIT\n"


@pytest.fixture(name="inside")
def _inside() -> Iterator[Pod]:
    need(*NEEDED)
    with pod() as new_pod:
        yield new_pod


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    """Return a folder that any user may enter; pytest's folders are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(name="tools")
def _tools(request: pytest.FixtureRequest, open_folder: Path, inside: Pod) -> Path:
    """Return a folder for PATH that has the programs of only one backend."""
    backend = request.param
    if backend == "nft":
        return programs(open_folder, "nft", "conntrack")
    need(backend)
    if backend == "iptables-legacy" and inside.run("iptables-legacy", "-t", "nat", "-S").returncode:
        raise MissingSkip(Missing("the kernel's iptables-legacy nat table", "load the module iptable_nat"))
    return programs(open_folder, *(f"{backend}{ending}" for ending in ("", "-save", "-restore")), "conntrack")


def _up(inside: Pod, tools: Path | str = "", *flags: str) -> None:
    inside.must(*wisp_command("up", *flags, path=tools))


every_backend = pytest.mark.parametrize("tools", BACKENDS, indirect=True)


@every_backend
def test_metadata_traffic_reaches_the_sidecar(inside: Pod, tools: Path) -> None:
    assert inside.ask() == f"node-{METADATA}-80"
    _up(inside, tools)
    assert inside.ask() == "proxy-8000"
    assert inside.ask(uid=0) == "proxy-8000"


@every_backend
def test_traffic_of_the_sidecar_reaches_the_node(inside: Pod, tools: Path) -> None:
    """Otherwise the sidecar would call itself in a loop."""
    _up(inside, tools)
    assert inside.ask(uid=PROXY_UID) == f"node-{METADATA}-80"


@every_backend
@pytest.mark.parametrize("ip, port", [(METADATA, 8080), ("10.77.0.1", 80), (WIRE_SERVER, 80)])
def test_other_traffic_is_not_redirected(inside: Pod, tools: Path, ip: str, port: int) -> None:
    """It goes to other ports of the metadata address, other addresses and the wire server."""
    _up(inside, tools)
    assert inside.ask(ip, port) == f"node-{ip}-{port}"


@every_backend
def test_second_up_leaves_the_rules_of_the_first(inside: Pod, tools: Path) -> None:
    _up(inside, tools)
    once = inside.rules()
    _up(inside, tools)
    assert inside.rules() == once


@every_backend
def test_up_with_other_settings_replaces_the_rule(inside: Pod, tools: Path) -> None:
    _up(inside, tools)
    changed = ("--proxy-port=8001", "--proxy-uid=0", "--metadata-ip=10.77.0.1", "--metadata-port=80")
    _up(inside, tools, *changed)
    assert inside.ask() == f"node-{METADATA}-80"
    assert inside.ask("10.77.0.1") == "proxy-8001"
    assert inside.ask("10.77.0.1", uid=0) == "node-10.77.0.1-80"


@every_backend
def test_replacing_the_rule_leaves_no_gap(inside: Pod, tools: Path) -> None:
    """No connection bypasses the redirect while `up` replaces it repeatedly."""
    _up(inside, tools)
    labels: list[str] = []
    with inside.asking(labels):
        for port in (8001, 8000) * 3:
            _up(inside, tools, f"--proxy-port={port}")
    assert labels == ["proxy-8000", "proxy-8001"]


@every_backend
def test_down_restores_the_rules_before_up(inside: Pod, tools: Path) -> None:
    """Rules of others stay. A second `down` succeeds."""
    inside.must("nft", "-f", "-", text=FOREIGN_NFT)
    for restore in ("iptables-nft-restore", "iptables-legacy-restore"):
        inside.run(restore, "--noflush", text=FOREIGN_IPTABLES)
    before = inside.rules()
    _up(inside, tools)
    assert inside.rules() != before
    assert "is removed" in inside.must(*wisp_command("down", path=tools))
    assert inside.rules() == before
    assert inside.must(*wisp_command("down", path=tools)) == "no redirect was in force\n"


@every_backend
def test_show_reads_the_rule_from_the_kernel(inside: Pod, tools: Path) -> None:
    """The highest uid is printed unchanged."""
    nothing = inside.run(*wisp_command("show", path=tools))
    assert nothing.returncode == 1
    assert "no redirect is in force" in nothing.stderr
    installed = inside.must(*wisp_command("up", "--proxy-uid=4294967294", path=tools))
    assert inside.must(*wisp_command("show", path=tools)) == installed
    assert "127.0.0.1:8000, except from uid 4294967294" in installed
    (record,) = json.loads(inside.must(*wisp_command("show", "--json", path=tools)))["redirects"]
    assert record.pop("backend") in installed
    assert record == {"proxy_port": 8000, "proxy_uid": 2**32 - 2, "metadata_ip": METADATA, "metadata_port": 80}


@every_backend
def test_script_of_plan_has_the_effect_of_up(inside: Pod, tools: Path) -> None:
    """Printing it changes nothing."""
    before = inside.rules()
    script = inside.must(*wisp_command("plan", path=tools))
    assert inside.rules() == before
    inside.must("sh", "-e", text=script)
    planned = inside.rules()
    _up(inside, tools)
    assert inside.rules() == planned
    inside.must("sh", "-e", text=inside.must(*wisp_command("plan", path=tools)))
    assert inside.rules() == planned


def test_changing_the_backend_leaves_one_rule(inside: Pod) -> None:
    _up(inside)
    alone = inside.must("nft", "list", "table", "ip", "wisp")
    _up(inside, "", "--backend=iptables", "--proxy-port=8001")
    assert inside.ask() == "proxy-8001"
    assert "table ip wisp" not in inside.rules()
    _up(inside)
    assert inside.must("nft", "list", "table", "ip", "wisp") == alone
    assert "WISP" not in inside.rules()


def test_iptables_is_used_on_a_kernel_without_nf_tables(inside: Pod, tmp_path: Path) -> None:
    """The installed nft fails; `up` prints a note."""
    need("iptables-legacy")
    (tmp_path / "nft").write_text("#!/bin/sh\necho 'netlink: Error: Protocol not supported' >&2\nexit 1\n")
    (tmp_path / "nft").chmod(0o755)
    tools = programs(tmp_path, *(f"iptables-nft{ending}" for ending in ("", "-save", "-restore")))
    done = inside.run(*wisp_command("up", path=tools))
    assert done.returncode == 0, done.stderr
    assert "note: nft failed (netlink: Error: Protocol not supported)" in done.stderr
    assert inside.ask() == "proxy-8000"


def test_connection_tracked_to_the_node_is_cut(inside: Pod) -> None:
    """The workload connects again and reaches the sidecar."""
    need("conntrack")
    inside.must("nft", "-f", "-", text=FOREIGN_NFT)  # a nat chain is what makes the kernel track connections
    outcomes: list[str] = []
    with inside.connected(8081, outcomes):
        _up(inside, "", "--metadata-port=8081")
    assert outcomes == ["ConnectionResetError"]


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "another user"])
@every_backend
def test_few_capabilities_suffice(inside: Pod, tools: Path, uid: int, request: pytest.FixtureRequest) -> None:
    """NET_ADMIN is enough with nft and iptables-nft; iptables-legacy also needs NET_RAW."""
    capabilities = ENOUGH[request.node.callspec.params["tools"]]
    python = python_for(uid)
    if python is None:
        raise MissingSkip(Missing(f"a Python that uid {uid} may run", "apt-get install python3"))
    for verb in ("up", "up", "show", "down"):
        ended = inside.run(*wisp_command(verb, capabilities=capabilities, uid=uid, path=tools, python=python))
        assert ended.returncode == 0, ended.stderr
        assert inside.ask() == (f"node-{METADATA}-80" if verb == "down" else "proxy-8000")


@every_backend
@pytest.mark.parametrize("verb", ["up", "show", "down"])
def test_missing_net_admin_is_reported_with_a_hint(inside: Pod, tools: Path, verb: str) -> None:
    """The exit status is 3, and nothing changes."""
    _up(inside, tools)
    before = inside.rules()
    ended = inside.run(*wisp_command(verb, capabilities=(), path=tools))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "NET_ADMIN" in ended.stderr
    assert ended.stderr.count("\n") == 2
    assert inside.rules() == before


@every_backend
def test_up_works_with_a_read_only_root(inside: Pod, tools: Path, request: pytest.FixtureRequest) -> None:
    """Nothing is written to a file system; /run and /tmp may be read-only, too."""
    read_only = 'mount -o remount,bind,ro / && mount -t tmpfs -o ro none /run && exec "$@"'
    capabilities = ENOUGH[request.node.callspec.params["tools"]]
    command = wisp_command("up", capabilities=capabilities, path=tools)
    inside.must("unshare", "--mount", "sh", "-c", read_only, "sh", *command)
    assert inside.ask() == "proxy-8000"


def test_up_works_in_an_unprivileged_user_namespace() -> None:
    """A user without privileges can redirect in a network namespace that they created."""
    need(NAMESPACES, "nft", "unshare", "setpriv")
    python = python_for(NOBODY)
    own = Pod((*confine((), NOBODY), "unshare", "-Urn"))
    if python is None or own.run("true").returncode:
        raise MissingSkip(Missing("user namespaces for ordinary users", "sysctl -w kernel.unprivileged_userns_clone=1"))
    verbs = (" ".join(wisp_command(verb, python=python)) for verb in ("up", "show", "down", "show"))
    ended = own.run("sh", text="\n".join(verbs))
    assert ended.stdout.count("goes to 127.0.0.1:8000") == 2
    assert "is removed (nft)" in ended.stdout
    assert "no redirect is in force" in ended.stderr


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_proxy_uid_is_the_uid_inside_the_pod(backend: str) -> None:
    """The pod has a user namespace (hostUsers: false)."""
    need(*NEEDED, "iptables")
    with pod(own_users=True) as inside:
        inside.must(*wisp_command("up", f"--backend={backend}", python=inside.python))
        assert inside.ask() == "proxy-8000"
        assert inside.ask(uid=PROXY_UID) == f"node-{METADATA}-80"


def test_redirects_of_several_pods_are_independent() -> None:
    need(*NEEDED)
    with pod() as one, pod() as other:
        _up(one)
        assert (one.ask(), other.ask()) == ("proxy-8000", f"node-{METADATA}-80")
