"""The redirect for real: packets through network namespaces, with nft and both iptables."""

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
    with pod() as made:
        yield made


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    """Make a folder that any user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(name="tools")
def _tools(request: pytest.FixtureRequest, open_folder: Path, inside: Pod) -> Path:
    """Make a folder to be PATH that has one backend's programs only, under the names they have everywhere."""
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
    """A workload that asks the metadata service hears the sidecar."""
    assert inside.ask() == f"node-{METADATA}-80"
    _up(inside, tools)
    assert inside.ask() == "proxy-8000"
    assert inside.ask(uid=0) == "proxy-8000"


@every_backend
def test_the_sidecars_own_traffic_passes(inside: Pod, tools: Path) -> None:
    """The sidecar's own user hears the node's metadata service, or the sidecar would call itself for ever."""
    _up(inside, tools)
    assert inside.ask(uid=PROXY_UID) == f"node-{METADATA}-80"


@every_backend
@pytest.mark.parametrize("ip, port", [(METADATA, 8080), ("10.77.0.1", 80), (WIRE_SERVER, 80)])
def test_everything_else_is_untouched(inside: Pod, tools: Path, ip: str, port: int) -> None:
    """Other ports of the metadata address, other addresses and the wire server are left alone."""
    _up(inside, tools)
    assert inside.ask(ip, port) == f"node-{ip}-{port}"


@every_backend
def test_twice_is_once(inside: Pod, tools: Path) -> None:
    """A second `up` leaves exactly the rules of the first."""
    _up(inside, tools)
    once = inside.rules()
    _up(inside, tools)
    assert inside.rules() == once


@every_backend
def test_every_setting_can_be_changed(inside: Pod, tools: Path) -> None:
    """`up` with other settings replaces the rule."""
    _up(inside, tools)
    changed = ("--proxy-port=8001", "--proxy-uid=0", "--metadata-ip=10.77.0.1", "--metadata-port=80")
    _up(inside, tools, *changed)
    assert inside.ask() == f"node-{METADATA}-80"
    assert inside.ask("10.77.0.1") == "proxy-8001"
    assert inside.ask("10.77.0.1", uid=0) == "node-10.77.0.1-80"


@every_backend
def test_a_change_leaves_no_gap(inside: Pod, tools: Path) -> None:
    """While `up` replaces the rule again and again, no connection gets past it."""
    _up(inside, tools)
    heard: list[str] = []
    with inside.asking(heard):
        for port in (8001, 8000) * 3:
            _up(inside, tools, f"--proxy-port={port}")
    assert heard == ["proxy-8000", "proxy-8001"]


@every_backend
def test_down_leaves_no_trace(inside: Pod, tools: Path) -> None:
    """`down` leaves the rules, others' included, as they were before `up`; again is fine."""
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
def test_show_says_what_is_in_force(inside: Pod, tools: Path) -> None:
    """`show` reads back from the kernel what `up` put there, the extreme uid included."""
    nothing = inside.run(*wisp_command("show", path=tools))
    assert nothing.returncode == 1
    assert "no redirect is in force" in nothing.stderr
    told = inside.must(*wisp_command("up", "--proxy-uid=4294967294", path=tools))
    assert inside.must(*wisp_command("show", path=tools)) == told
    assert "127.0.0.1:8000, except from uid 4294967294" in told
    (record,) = json.loads(inside.must(*wisp_command("show", "--json", path=tools)))["redirects"]
    assert record.pop("backend") in told
    assert record == {"proxy_port": 8000, "proxy_uid": 2**32 - 2, "metadata_ip": METADATA, "metadata_port": 80}


@every_backend
def test_plan_is_what_up_runs(inside: Pod, tools: Path) -> None:
    """The script that `plan` prints does, in a shell, what `up` does; printing it changes nothing."""
    before = inside.rules()
    script = inside.must(*wisp_command("plan", path=tools))
    assert inside.rules() == before
    inside.must("sh", "-e", text=script)
    planned = inside.rules()
    _up(inside, tools)
    assert inside.rules() == planned
    inside.must("sh", "-e", text=inside.must(*wisp_command("plan", path=tools)))
    assert inside.rules() == planned


def test_a_change_of_backend_leaves_one_rule(inside: Pod) -> None:
    """When nft comes to a pod that iptables served, only nft's rule remains, and the other way round."""
    _up(inside)
    alone = inside.must("nft", "list", "table", "ip", "wisp")
    _up(inside, "", "--backend=iptables", "--proxy-port=8001")
    assert inside.ask() == "proxy-8001"
    assert "table ip wisp" not in inside.rules()
    _up(inside)
    assert inside.must("nft", "list", "table", "ip", "wisp") == alone
    assert "WISP" not in inside.rules()


def test_a_kernel_without_nf_tables_gets_iptables(inside: Pod, tmp_path: Path) -> None:
    """When nft is installed but the kernel does not know it, `up` says so and goes on to iptables."""
    need("iptables-legacy")
    (tmp_path / "nft").write_text("#!/bin/sh\necho 'netlink: Error: Protocol not supported' >&2\nexit 1\n")
    (tmp_path / "nft").chmod(0o755)
    tools = programs(tmp_path, *(f"iptables-nft{ending}" for ending in ("", "-save", "-restore")))
    done = inside.run(*wisp_command("up", path=tools))
    assert done.returncode == 0, done.stderr
    assert "note: nft failed (netlink: Error: Protocol not supported)" in done.stderr
    assert inside.ask() == "proxy-8000"


def test_a_tracked_connection_does_not_stay_with_the_node(inside: Pod) -> None:
    """A workload's connection that was tracked to the node before `up` is cut, so that it comes back by the proxy."""
    need("conntrack")
    inside.must("nft", "-f", "-", text=FOREIGN_NFT)  # a nat chain is what makes the kernel track connections
    came_of_it: list[str] = []
    with inside.connected(8081, came_of_it):
        _up(inside, "", "--metadata-port=8081")
    assert came_of_it == ["ConnectionResetError"]


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "another user"])
@every_backend
def test_few_capabilities_suffice(inside: Pod, tools: Path, uid: int, request: pytest.FixtureRequest) -> None:
    """NET_ADMIN alone installs, shows and removes with nft and iptables-nft; iptables-legacy wants NET_RAW too."""
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
def test_without_net_admin_it_says_so(inside: Pod, tools: Path, verb: str) -> None:
    """Without the capability an error names it, with a hint; the exit status is 3, and nothing changes."""
    _up(inside, tools)
    before = inside.rules()
    ended = inside.run(*wisp_command(verb, capabilities=(), path=tools))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "NET_ADMIN" in ended.stderr
    assert ended.stderr.count("\n") == 2
    assert inside.rules() == before


@every_backend
def test_a_read_only_root_is_enough(inside: Pod, tools: Path, request: pytest.FixtureRequest) -> None:
    """Nothing is written to a file system: all of it, /run and /tmp included, may be read-only."""
    read_only = 'mount -o remount,bind,ro / && mount -t tmpfs -o ro none /run && exec "$@"'
    capabilities = ENOUGH[request.node.callspec.params["tools"]]
    command = wisp_command("up", capabilities=capabilities, path=tools)
    inside.must("unshare", "--mount", "sh", "-c", read_only, "sh", *command)
    assert inside.ask() == "proxy-8000"


def test_an_unprivileged_user_namespace_is_enough() -> None:
    """A user without any privilege can redirect in a network namespace of their own."""
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
def test_the_uid_is_the_pods_own(backend: str) -> None:
    """In a pod with a user namespace (hostUsers: false), `--proxy-uid` is the uid as the pod knows it."""
    need(*NEEDED, "iptables")
    with pod(own_users=True) as inside:
        inside.must(*wisp_command("up", f"--backend={backend}", python=inside.python))
        assert inside.ask() == "proxy-8000"
        assert inside.ask(uid=PROXY_UID) == f"node-{METADATA}-80"


def test_many_at_once() -> None:
    """Pods do not meet: the same redirect in several at a time."""
    need(*NEEDED)
    with pod() as one, pod() as other:
        _up(one)
        assert (one.ask(), other.ask()) == ("proxy-8000", f"node-{METADATA}-80")
