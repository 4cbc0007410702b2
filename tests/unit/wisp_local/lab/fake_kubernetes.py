"""Fakes of a Kubernetes: a kubectl that answers from a folder, and a cluster that the lab starts itself."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wisp_local.cloud.issuer import Issuer, SigningKey, key_set, kubernetes_key_id, new_rsa_key
from wisp_local.lab.own_cluster import OwnCluster
from wisp_local.lab.paths import LabPaths

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
kubeconfig, timeout, *arguments = sys.argv[1:]
folder = os.path.dirname(kubeconfig.removeprefix("--kubeconfig="))
assert os.environ["KUBECACHEDIR"]  # else it would write into the user's own ~/.kube
with open(f"{{folder}}/calls", "a") as calls:
    calls.write(" ".join(arguments) + "\\n")
if arguments[:2] == ["get", "--raw"]:
    try:
        sys.stdout.write(open(f"{{folder}}/" + arguments[2].strip("/").replace("/", "-")).read())
    except FileNotFoundError:
        sys.exit("Unable to connect to the server: dial tcp 127.0.0.1:6443: connect: connection refused")
"""


class FakeKubernetes:
    """A cluster in `folder` as kubectl sees it: its kubeconfig, and the answers of its API server."""

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

    def kubectl_calls(self) -> list[str]:
        """Return the arguments of kubectl, a line per call."""
        return (self._folder / "calls").read_text().splitlines()

    def stop_answering(self, path: str = "readyz") -> None:
        """Answer no more requests for `path`."""
        (self._folder / path).unlink()


def make_kubectl(folder: Path) -> Path:
    """Put a kubectl into the folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "kubectl"
    program.write_text(_KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    return folder


class FakeCluster(OwnCluster):
    """A cluster that the lab starts itself; it reaches this machine at the loopback address `host`."""

    def __init__(self, paths: LabPaths, folder: Path, host: str = "127.0.0.2") -> None:
        super().__init__(paths)
        self.folder = folder
        self.host = host
        self.running: FakeKubernetes | None = None
        self.calls: list[str] = []

    def prepare(self, image: Path | None, load: Sequence[Path]) -> str:
        """Return this machine's address."""
        self.calls.append(" ".join(["prepare", str(image), *map(str, load)]))
        return self.host

    def start(self, issuer_url: str) -> Path:
        """Become ready; tokens are issued by `issuer_url`."""
        self.calls.append("start")
        if self.running is None:
            self.running = FakeKubernetes(self.folder, issuer_url)
        return self.running.kubeconfig

    def load_images(self, archives: Sequence[Path]) -> None:
        """Record the archives."""
        self.calls.append(" ".join(["load_images", *map(str, archives)]))

    def load(self, archive: Path, label: str) -> list[str]:
        """Record the archive; its image has the file's name."""
        self.calls.append(f"load {archive} {label}")
        return [f"docker.io/library/{archive.stem}:1"]

    def stop(self) -> None:
        """End."""
        self.calls.append("stop")
        self.running = None

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self.running is not None
