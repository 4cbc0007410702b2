"""A pod on this machine: its network namespace, a veth pair and a default route to a node with a metadata service.

Nothing has a name on the machine and nothing outlives the test run: each namespace lives as long as a process that
ends when its standard input does.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

import wisp
from tests.support.needs import NAMESPACES
from tests.support.waiting import PATIENCE

NEEDED = (NAMESPACES, "nft", "ip", "unshare", "nsenter", "setpriv")
"""Requirements of a pod with a redirect (tests.support.needs)."""

METADATA = "169.254.169.254"
WIRE_SERVER = "168.63.129.16"
WORKLOAD_UID, PROXY_UID = 4321, 1501
NOBODY = 65534
FIRST_RELEASE = """
table ip wisp {
	chain output {
		type nat hook output priority -100; policy accept;
		ip daddr 169.254.169.254 tcp dport 80 meta skuid != 1501 redirect to :8000
	}
}
"""
"""The nft redirect of earlier versions: a service mesh may intercept the traffic before it."""

# Answers every connection with the label of its listener, or not at all if the label is `silent`; ends with its
# standard input.
_ANSWER = """
import selectors, socket, sys
poll = selectors.DefaultSelector()
poll.register(sys.stdin, selectors.EVENT_READ)
silent = []
for argument in sys.argv[1:]:
    label, ip, port = argument.split(",")
    listener = socket.create_server((ip, int(port)), backlog=1024)
    silent.append(listener) if label == "silent" else poll.register(listener, selectors.EVENT_READ, label)
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        if key.data is None:
            sys.exit()
        connection, _ = key.fileobj.accept()
        connection.sendall(key.data.encode())
        connection.close()
"""
# Becomes the user, then connects once, or until its standard input ends; prints the labels of answers, or the error.
_ASK = """
import os, select, socket, sys
uid, ip, port, often = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), len(sys.argv) > 4
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
def ask():
    with socket.socket() as connection:
        connection.settimeout(60)
        try:
            connection.connect((ip, port))
            return connection.recv(100).decode()
        except OSError as error:
            return type(error).__name__
heard = {ask()}
if often:
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        heard.add(ask())
print(*sorted(heard))
"""
# Connects, waits for the end of its standard input, then sends; prints the answer or the name of the error.
_SPEAK_LATER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60) as connection:
    print("ready", flush=True)
    sys.stdin.read()
    try:
        connection.sendall(b"hello")
        print(connection.recv(1))
    except OSError as error:
        print(type(error).__name__)
"""


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints `ready` and ends with its standard input, until the block ends."""
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        with contextlib.closing(started.stdin):
            assert started.stdout.readline() == "ready\n", arguments
            yield started


@contextlib.contextmanager
def namespace(*, own_users: bool = False) -> Iterator[int]:
    """Yield the process id of a new network namespace; with `own_users` also a new user namespace, ids from 100000."""
    kind = ("--net", "--user") if own_users else ("--net",)
    with process("unshare", *kind, "sh", "-c", "echo ready; exec cat") as holder:
        if own_users:
            for ids in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{ids}").write_text("0 100000 65536\n", encoding="ascii")
        yield holder.pid


@dataclass(frozen=True)
class Pod:
    """The network namespace of a pod or node, in which programs run."""

    inside: tuple[str, ...]
    python: str = sys.executable  # one that the pod's users may run

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program in the pod."""
        command = [*self.inside, *arguments]
        return subprocess.run(command, input=text, capture_output=True, check=False, text=True, timeout=PATIENCE)

    def must(self, *arguments: str, text: str = "") -> str:
        """Run a program that must succeed; return its output."""
        ended = self.run(*arguments, text=text)
        assert ended.returncode == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def ask(self, ip: str = METADATA, port: int = 80, *, uid: int = WORKLOAD_UID) -> str:
        """Connect as `uid`; return the label of the listener that answered, or the name of the error."""
        return self.must(self.python, "-c", _ASK, str(uid), ip, str(port)).strip()

    @contextlib.contextmanager
    def asking(self, labels: list[str]) -> Iterator[None]:
        """Connect to the metadata service repeatedly during the block; `labels` gets the labels of all answers."""
        with process(*self.inside, self.python, "-c", _ASK, str(WORKLOAD_UID), METADATA, "80", "often") as asker:
            yield
            labels += asker.communicate()[0].split()

    @contextlib.contextmanager
    def connected(self, port: int, outcomes: list[str]) -> Iterator[None]:
        """Hold a connection to the metadata address during the block, then send on it; `outcomes` gets the result."""
        with process(*self.inside, self.python, "-c", _SPEAK_LATER, METADATA, str(port)) as speaker:
            yield
            outcomes.append(speaker.communicate()[0].strip())

    def answering(self, *listeners: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Answer connections on every `label,ip,port` with its label."""
        return process(*self.inside, self.python, "-c", _ANSWER, *listeners)

    def rules(self) -> str:
        """List all rules of nft and both iptables, without counters."""
        legacy = self.run("iptables-legacy-save").stdout
        lines = [*self.must("nft", "--stateless", "list", "ruleset").splitlines(), *legacy.splitlines()]
        return "\n".join(line for line in lines if not line.startswith("#"))


@contextlib.contextmanager
def network(*, own_users: bool = False) -> Iterator[tuple[Pod, Pod]]:
    """Set up a node that has the metadata service's address, and a pod on it, both without listeners."""
    with contextlib.ExitStack() as stack:
        node = Pod(("nsenter", f"--target={stack.enter_context(namespace())}", "--net", "--"))
        pid = stack.enter_context(namespace(own_users=own_users))
        python = (python_for(NOBODY) if own_users else None) or sys.executable
        pod_side = Pod(("nsenter", f"--target={pid}", *(("--user",) if own_users else ()), "--net", "--"), python)
        node.must("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        addresses = f"address add 10.77.0.1/24 dev veth0\naddress add {METADATA}/32 dev veth0\n"
        addresses += f"address add {WIRE_SERVER}/32 dev veth0\nlink set veth0 up\n"
        node.must("ip", "-batch", "-", text=addresses)
        pod_side.must("ip", "-batch", "-", text="link set lo up\naddress add 10.77.0.2/24 dev eth0\nlink set eth0 up\n")
        pod_side.must("ip", "route", "add", "default", "via", "10.77.0.1")
        yield node, pod_side


@contextlib.contextmanager
def pod(*, own_users: bool = False) -> Iterator[Pod]:
    """Set up a pod whose sidecar listens on 8000 and 8001, and a node that answers for the metadata service."""
    with contextlib.ExitStack() as stack:
        node, pod_side = stack.enter_context(network(own_users=own_users))
        # 8081 takes connections and never answers them.
        silent = f"silent,{METADATA},8081"
        places = ((METADATA, 80), (METADATA, 8080), ("10.77.0.1", 80), (WIRE_SERVER, 80))
        stack.enter_context(node.answering(silent, *(f"node-{ip}-{port},{ip},{port}" for ip, port in places)))
        stack.enter_context(pod_side.answering("proxy-8000,127.0.0.1,8000", "proxy-8001,127.0.0.1,8001"))
        yield pod_side


def wisp_command(
    *arguments: str, capabilities: Sequence[str] | None = None, uid: int = 0, path: str | Path = "", python: str = ""
) -> list[str]:
    """Return the command `wisp redirect ...` with only these capabilities (None: all), as `uid`; `path` is PATH."""
    environment = [f"PATH={path or os.environ['PATH']}", f"PYTHONPATH={source_path()}", "PYTHONDONTWRITEBYTECODE=1"]
    confined = [] if capabilities is None else confine(capabilities, uid)
    return [*confined, "env", *environment, python or sys.executable, "-m", "wisp", "redirect", *arguments]


def programs(folder: Path, *names: str) -> Path:
    """Link programs into `folder`, for use as PATH; missing programs are skipped."""
    for name in names:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    return folder


def confine(capabilities: Sequence[str], uid: int) -> list[str]:
    """Return the setpriv command that limits a program to these capabilities, as a container runtime does."""
    sets = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    prefix = ["setpriv", f"--bounding-set={sets}", f"--inh-caps={sets}", "--no-new-privs"]
    # A user but root keeps over exec only what is ambient; root's come with the bounding set.
    return (
        prefix
        if uid == 0
        else [*prefix, f"--ambient-caps={sets}", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    )


def source_path() -> str:
    """Return a PYTHONPATH with which any interpreter finds wisp and click."""
    return os.pathsep.join(str(Path(str(module.__file__)).parents[1]) for module in (wisp, click))


def python_for(uid: int) -> str | None:
    """Find an interpreter that `uid` may run; this one may be in a folder closed to others."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [*confine((), uid), "env", f"PYTHONPATH={source_path()}", python, "-c", "import wisp.cli"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return python
    return None
