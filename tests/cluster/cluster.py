"""A cluster with a local Entra, without wisp: for tests that use `kubectl`, `helm` and pods."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image.build import build
from tests.helm.build import helm
from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from tests.unit.wisp_local.cloud.process import Running, running
from wisp import __version__
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.state.store import Store
from wisp_local.lab.node.binaries import binaries
from wisp_local.lab.node.images import debian_image
from wisp_local.lab.node.network import Network
from wisp_local.lab.node.node import ARCHITECTURE, Node
from wisp_local.sandbox.folders import cache_folder

IMAGE = f"wisp:{__version__}"
NAMESPACE = "wisp-system"
EXEMPT = "exempt"
"""A namespace that the shared installation skips, for a second one."""
CHART = ROOT / "charts" / "wisp"
_PATIENCE = 300  # seconds for anything; it only guards against hanging
_PAUSE = 0.2
_PROBE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe", "labels": {"azure.workload.identity/use": "true"}},
    "spec": {"containers": [{"name": "probe", "image": "wisp.test/pause:1"}]},
}
"""A pod for dry runs."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster `node`, and the `cloud` that knows its issuer.

    `issuer_url` issues its service account tokens.
    """

    node: Node
    cloud: Running
    issuer_url: str

    @property
    def tenant_id(self) -> str:
        """The tenant of the cloud."""
        with Store(self.cloud.state) as store:
            return store.tenant().id

    def identity(self, name: str, *subjects: tuple[str, str]) -> ManagedIdentity:
        """Make a managed identity for the service accounts `subjects` (namespace, name)."""
        with Store(self.cloud.state) as store:
            store.put_resource_group("WorkloadIdentityRG", "eastus")
            identity = store.put_identity("WorkloadIdentityRG", name, "eastus")
            for number, (namespace, account) in enumerate(subjects):
                subject = f"system:serviceaccount:{namespace}:{account}"
                store.put_federated_credential(identity, f"{name}-{number}", issuer=self.issuer_url, subject=subject)
        return identity

    def kubectl(self, *arguments: str, given: str | None = None, timeout: float = _PATIENCE) -> str:
        """Run kubectl and return its output."""
        done = self.try_kubectl(*arguments, given=given, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_kubectl(
        self, *arguments: str, given: str | None = None, timeout: float = _PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return the result, also of a failure."""
        return self._run(self.node.binaries.kubectl, arguments, given, timeout)

    def helm(self, *arguments: str, timeout: float = _PATIENCE) -> str:
        """Run Helm and return its output."""
        done = self._run(helm(), arguments, None, timeout)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return an object or a list of objects."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *manifests: object) -> str:
        """Apply manifests, as YAML text or as objects; return the output of kubectl, with warnings."""
        text = "\n---\n".join(item if isinstance(item, str) else json.dumps(item) for item in manifests)
        done = self.try_kubectl("apply", "-f", "-", given=text)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def wait_until_ready(self, pod: str, namespace: str = "default", timeout: int = _PATIENCE) -> None:
        """Wait until the pod is ready; the error describes a pod that does not become ready."""
        arguments = ("wait", "--for=condition=Ready", f"pod/{pod}", "-n", namespace, f"--timeout={timeout}s")
        done = self.try_kubectl(*arguments, timeout=timeout + 10)
        assert done.returncode == 0, done.stderr + self.describe(pod, namespace)

    def describe(self, pod: str, namespace: str) -> str:
        """Return the description and the logs of a pod."""
        logs = self.try_kubectl("logs", pod, "-n", namespace, "--all-containers", "--tail=20", "--prefix")
        return self.try_kubectl("describe", "pod", pod, "-n", namespace).stdout + logs.stdout + logs.stderr

    def install(self, *settings: str, release: str = "wisp", namespace: str = NAMESPACE) -> None:
        """Install the chart for this cloud, or upgrade to it, and wait until the webhook serves."""
        values = {"azureTenantID": self.tenant_id, "authorityHost": f"{self.cloud.url}/", "image.repository": "wisp"}
        chosen = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
        chosen += [word for setting in settings for word in ("--set", setting)]
        place = ("--namespace", namespace, "--create-namespace", "--wait", "--timeout", f"{_PATIENCE}s")
        authority = ("--set-file", f"authorityCA={self.cloud.ca_file}")
        try:
            self.helm("upgrade", "--install", release, str(CHART), *place, *authority, *chosen, timeout=_PATIENCE + 30)
        except AssertionError as error:
            events = self.try_kubectl("get", "events,pods", "-n", namespace).stdout
            raise AssertionError(f"{error}\n{events}") from None
        eventually(self.is_admitting, "the webhook's Service")

    def is_admitting(self, namespace: str = "default") -> bool:
        """Tell whether the API server reaches the webhook: kube-proxy is ready a moment after Helm."""
        create = ("create", "--dry-run=server", "-n", namespace, "-f", "-")
        return self.try_kubectl(*create, given=json.dumps(_PROBE)).returncode == 0

    def _run(
        self, program: Path, arguments: tuple[str, ...], given: str | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.node.folder), "KUBECONFIG": str(self.node.kubeconfig)}
        return subprocess.run(
            [program, *arguments],
            env=environment,
            input=given or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until `holds` returns true, with pauses for the API server."""
    wait_until(holds, what, pause=_PAUSE, patience=_PATIENCE)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster and its cloud until the block ends."""
    node = Node(folder / "node", binaries(), free_node_number(), ends_with_parent=True)
    namespace = node.prepare()
    with running(folder / "cloud.db", "--host", node.network.host, "--page") as cloud:
        with Store(cloud.state) as store:
            issuer_url = cloud.url + store.issuers.put("lab").path
        try:
            node.start(namespace, issuer_url)
            keys = node.kubectl("get", "--raw", "/openid/v1/jwks").output.reveal()
            with Store(cloud.state) as store:
                store.clusters.attach(Attachment(ANY, node.kubeconfig.read_text(), issuer_url, keys))
            yield Cluster(node, cloud, issuer_url)
        finally:
            node.stop()


def free_node_number() -> int:
    """Return a node number that no other test run on this machine uses."""
    return next(number for number in range(100, 255) if not Path("/sys/class/net", Network(number).device).exists())


def wisp_image(folder: Path) -> Path:
    """Build wisp's image with the name in the chart."""
    return build(IMAGE, folder / "wisp.tar")


def ubuntu_image() -> Path:
    """Return the replacement of ubuntu:20.04."""
    return debian_image(cache_folder(), ARCHITECTURE)
