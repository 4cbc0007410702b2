"""`wisp redirect up --proxy-port=PORT`, as every pod runs it first: says and does what the command does, but faster.

The kubelet looks at containers once a second, so a pod starts a second later when this ends just after it has looked.
Where nft is the only tool and no redirect is there yet, there is nothing to look for, so that code is not loaded.
In every other case the command's own code decides, runs the tools and reports.
"""

import os
import sys

from wisp.redirect.scripts import NFT_CREATE, conntrack_arguments, nft_table, sentence

_IPTABLES = ("iptables", "iptables-nft", "iptables-legacy")
_TRACKED = "/proc/sys/net/netfilter/nf_conntrack_count"  # of this network namespace


def main(proxy_port: int) -> int:
    """Put the redirect in force and return the exit status."""
    if not 1 <= proxy_port <= 65535 or not _is_taken_by_nft(proxy_port):
        from wisp.redirect.fallback import main as command  # noqa: PLC0415 -- loading it takes longer than all of this

        return command(proxy_port)
    sys.stdout.write(f"{sentence(proxy_port)} (nft)\n")
    return 0


def _is_taken_by_nft(proxy_port: int) -> bool:
    """Put the redirect in force with nft. False: nothing has changed; one is there, or iptables, which may hold one."""
    nft, conntrack = _find("nft"), _find("conntrack")
    if nft is None or conntrack is None or any(map(_find, _IPTABLES)):
        return False
    if _run(nft, ("nft", NFT_CREATE + nft_table(proxy_port))) != 0:
        return False
    if _may_track():
        _run(conntrack, conntrack_arguments())  # also says 1 when there was none
    return True


def _may_track() -> bool:
    """Say whether the kernel may track connections here. With none, conntrack would take as long as all the rest."""
    try:
        with open(_TRACKED, "rb") as file:  # noqa: PTH123 -- see _find
            return file.read() != b"0\n"
    except OSError:
        return True


def _find(program: str) -> str | None:
    """Return the path of a program on PATH."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = (os.path.join(folder, program) for folder in folders)  # noqa: PTH118 -- pathlib takes as long as all of this
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def _run(path: str, arguments: tuple[str, ...]) -> int:
    """Run a program without output and return its exit status, or 1 where it cannot be started."""
    silent = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in range(3)]
    try:
        child = os.posix_spawn(path, arguments, {"LC_ALL": "C"}, file_actions=silent)
    except OSError:
        return 1
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
