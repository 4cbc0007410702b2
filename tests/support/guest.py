"""Runs a command as an ordinary user of this machine, in a mount namespace of its own: a program, started by root.

    unshare --mount python -m tests.support.guest FOLDER UID {subordinate|none|forbidden} PYTHON-ARGUMENTS...

The user gets an interpreter that it may run, wherever this one is installed; FOLDER/home and FOLDER/tmp are its own. It
has subordinate ids or none, or is forbidden to make user namespaces, as the kernel forbids it: by their number.
"""

import os
import subprocess
import sys
from pathlib import Path

from wisp_local.sandbox.interpreter import Image, lay_out, this_interpreter
from wisp_local.sandbox.namespaces import bind, mount_tmpfs

_FILES = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nguest:x:{uid}:{uid}::/:/bin/sh\n",
    "subuid": "guest:100000:65536\n",
    "subgid": "guest:100000:65536\n",
}
_DENY = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
_WAIT = 'echo ready; read -r go; exec "$@"'  # a program started before the ids are mapped has no capability


def main(folder: Path, uid: int, ids: str, arguments: list[str]) -> int:
    """Run Python as `uid` with `arguments`; return its exit status."""
    for name in ("home", "tmp"):
        (folder / name).mkdir()
        os.chown(folder / name, uid, uid)
    hidden = folder / "image"
    hidden.mkdir()
    mount_tmpfs(hidden)
    image = lay_out(this_interpreter(), hidden / "image", bind)
    for name, text in _FILES.items():
        file = hidden / name
        file.write_text(text.format(uid=uid) if name == "passwd" or ids == "subordinate" else "", encoding="ascii")
        subprocess.run(["mount", "--bind", file, f"/etc/{name}"], check=True)
    command = [*_become(folder, uid, image), image.python, *arguments]
    return (
        _run_without_user_namespaces(command) if ids == "forbidden" else subprocess.run(command, check=False).returncode
    )


def _become(folder: Path, uid: int, image: Image) -> list[str]:
    """Become the user, with everything in the environment that could lead the demo astray."""
    environment = {
        **image.environment,
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:1"),
        **dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "/nonexistent"),
        **dict.fromkeys(("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"), "another"),
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "env", "-i", *settings]


def _run_without_user_namespaces(command: list[str]) -> int:
    """Run `command` where nobody may make a user namespace: in one whose limit for more of them is 0."""
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", _WAIT, "sh", "sh", "-c", _DENY, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{started.pid}/{name}").write_text("0 0 65536\n", encoding="ascii")
        started.stdin.write(b"go\n")
        started.stdin.close()
        while output := os.read(started.stdout.fileno(), 65536):
            os.write(1, output)
        return started.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
