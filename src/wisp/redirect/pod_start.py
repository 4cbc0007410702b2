"""`wisp redirect up --proxy-port=PORT`, as every pod runs it first, with the output of the command, but faster.

The kubelet checks containers once a second, so a pod starts a second later if this ends just after a check. If nft is
the only tool and there is no redirect, nothing has to be looked up, and the code for it is not loaded. In every other
case the command's own code decides, runs the tools and reports.
"""

import os
import sys

from wisp import SIDECAR_UID
from wisp.redirect.script import METADATA_IP, METADATA_PORT, NFT_CREATE, conntrack_arguments, nft_table, sentence

_IPTABLES = ("iptables", "iptables-nft", "iptables-legacy")
_TRACKED = "/proc/sys/net/netfilter/nf_conntrack_count"  # of this network namespace


def main(proxy_port: int) -> int:
    """Install the redirect and return the exit status."""
    if not 1 <= proxy_port <= 65535 or not _install_with_nft(proxy_port):
        return _install_as_command(proxy_port)
    sys.stdout.write(f"{sentence(proxy_port)} (nft)\n")
    return 0


def _install_as_command(proxy_port: int) -> int:
    """Do what the command does, without the command line library."""
    # Loading these takes longer than all the rest of this module.
    from wisp.base.errors import WispError  # noqa: PLC0415
    from wisp.redirect import apply  # noqa: PLC0415
    from wisp.redirect.apply import LocalMachine  # noqa: PLC0415
    from wisp.redirect.plan import Choice, Rule, parse_address  # noqa: PLC0415

    try:
        address = parse_address(METADATA_IP)
        rule = Rule(proxy_port=proxy_port, proxy_uid=SIDECAR_UID, metadata_ip=address, metadata_port=METADATA_PORT)
        done = apply.up(LocalMachine(), rule, Choice.AUTO)
    except WispError as error:
        sys.stderr.write(error.report())
        return error.exit_status
    sys.stderr.writelines(f"note: {note}\n" for note in done.notes)
    sys.stdout.write(f"{rule} ({done.tools[0].backend.value})\n")
    return 0


def _install_with_nft(proxy_port: int) -> bool:
    """Install the redirect with nft. False: nothing changed, because there is a redirect, or iptables may hold one."""
    nft, conntrack = _find("nft"), _find("conntrack")
    if nft is None or conntrack is None or any(map(_find, _IPTABLES)):
        return False
    if _run(nft, ("nft", NFT_CREATE + nft_table(proxy_port))) != 0:
        return False
    if _may_track():
        _run(conntrack, conntrack_arguments())  # it also exits with 1 if there are none
    return True


def _may_track() -> bool:
    """Return whether the kernel tracks connections here. If it tracks none, running conntrack would waste time."""
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
