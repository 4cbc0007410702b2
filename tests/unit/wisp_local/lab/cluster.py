"""Stand-ins for a Kubernetes: a kubectl that answers from a folder, and a cluster of the lab's own."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wisp_local.cloud.issuer import Issuer, SigningKey, key_set, kubernetes_key_id, new_rsa_key

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Y2E=}}]
users: [{name: u, user: {token: not-a-real-one}}]
"""
_KUBECTL = """\
#!{python}
import os, sys
kubeconfig, patience, *arguments = sys.argv[1:]
folder = os.path.dirname(kubeconfig.removeprefix("--kubeconfig="))
assert os.environ["KUBECACHEDIR"]  # else it would write into the user's own ~/.kube
with open(f"{{folder}}/heard", "a") as heard:
    heard.write(" ".join(arguments) + "\\n")
if arguments[:2] == ["get", "--raw"]:
    try:
        sys.stdout.write(open(f"{{folder}}/" + arguments[2].strip("/").replace("/", "-")).read())
    except FileNotFoundError:
        sys.exit("Unable to connect to the server: dial tcp 127.0.0.1:6443: connect: connection refused")
"""


class Kubernetes:
    """A cluster in `folder` as kubectl sees it: its kubeconfig, and what its API server answers."""

    def __init__(self, folder: Path, issuer_url: str) -> None:
        folder.mkdir(parents=True)
        private = new_rsa_key()
        key = SigningKey(kubernetes_key_id(private.public_key()), private, {})
        self.keys = json.dumps(key_set(Issuer("", "", (key,))))
        self.kubeconfig = folder / "config"
        self.kubeconfig.write_text(KUBECONFIG)
        (folder / ".well-known-openid-configuration").write_text(json.dumps({"issuer": issuer_url}))
        (folder / "openid-v1-jwks").write_text(self.keys)
        (folder / "readyz").write_text("ok")
        self._folder = folder

    def heard(self) -> list[str]:
        """Return what kubectl was asked, a line each."""
        return (self._folder / "heard").read_text().splitlines()

    def go_away(self, path: str = "readyz") -> None:
        """Answer no more at `path`."""
        (self._folder / path).unlink()


def make_kubectl(folder: Path) -> Path:
    """Put a kubectl into the folder, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "kubectl"
    program.write_text(_KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    return folder


class FakeCluster:
    """A cluster of the lab's own, on the loopback address `host`."""

    def __init__(self, folder: Path, host: str = "127.0.0.2") -> None:
        self.folder = folder
        self.host = host
        self.running: Kubernetes | None = None
        self.done: list[str] = []

    def prepare(self, image: Path | None, load: Sequence[Path]) -> str:
        """Say where this machine is."""
        self.done.append(" ".join(["prepare", str(image), *map(str, load)]))
        return self.host

    def start(self, issuer_url: str) -> Path:
        """Become ready, and issue tokens as `issuer_url`."""
        self.done.append("start")
        if self.running is None:
            self.running = Kubernetes(self.folder, issuer_url)
        return self.running.kubeconfig

    def finish(self, load: Sequence[Path]) -> None:
        """Note what is loaded."""
        self.done.append(" ".join(["finish", *map(str, load)]))

    def load(self, archive: Path, shown: str) -> list[str]:
        """Note what is loaded, and call it by its file's name."""
        self.done.append(f"load {archive} {shown}")
        return [f"docker.io/library/{archive.stem}:1"]

    def stop(self) -> None:
        """End."""
        self.done.append("stop")
        self.running = None

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self.running is not None
