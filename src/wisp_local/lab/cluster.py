"""Attaches a real API server to the lab's managed clusters, and writes wisp's manifest for it.

The API server is asked by kubectl: that reads a kubeconfig as its owner's does, plugins included.
"""

import importlib.resources
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import wisp
from wisp.base.errors import ToolError, WispError
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.kubeconfig import read_kubeconfig
from wisp_local.cloud.state.store import Store
from wisp_local.lab.manifest import ManifestValues, fill_manifest
from wisp_local.lab.own_cluster import OwnCluster
from wisp_local.lab.paths import LabPaths, write
from wisp_local.lab.record import CloudProcess, Record
from wisp_local.sandbox.processes import ProcessContext, run, tail

ISSUER = "lab"
"""Name of the issuer that the cloud runs for the lab's own cluster."""
_DISCOVERY = "/.well-known/openid-configuration"
_KEYS = "/openid/v1/jwks"
_REQUEST_TIMEOUT = 10  # seconds
_TIMEOUT = 60  # seconds, with what a plugin of the kubeconfig does before the request
_ROLLOUT_TIMEOUT = 180  # seconds
_ADMISSION_TIMEOUT = 60  # seconds
_CA_TIMEOUT = 120  # seconds until the kubelet has shown the webhook the gateway's CA: 15 in the lab's own cluster
_PAUSE = 0.2  # seconds between two probes
_NAMESPACE = "wisp-system"
_PROBE = (
    *("run", "wisp-probe", "--image=wisp", "--restart=Never", "--labels=azure.workload.identity/use=true"),
    *("--dry-run=server", "--output=name"),
)
"""Asks for the admission of a labelled pod, without creating it."""
_GATEWAY_PROBE = (*_PROBE, "--annotations=azure.workload.identity/use-identity-binding=true")
"""The same for a pod that uses the gateway."""
GATEWAY_KINDS = (
    "deployment,poddisruptionbudget,service,secret,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding"
)
"""The kinds of the gateway's objects in the manifest."""
_REMOVE_GATEWAY = (
    *("delete", GATEWAY_KINDS, f"--namespace={_NAMESPACE}"),
    "--selector=app.kubernetes.io/name=wisp,app.kubernetes.io/component=gateway",
)


@dataclass(frozen=True)
class ApiServer:
    """The API server of the current context in `kubeconfig`; kubectl runs with `environ`."""

    kubeconfig: Path
    environ: Mapping[str, str]

    def attachment(self) -> Attachment:
        """Ask for the issuer of service account tokens and its keys, for all managed clusters. Raise WispError."""
        document = self.get(_DISCOVERY)
        try:
            issuer_url = str(json.loads(document)["issuer"])
        except (ValueError, TypeError, KeyError) as error:
            problem = f"the API server of {self.kubeconfig} does not name the issuer of its tokens"
            raise WispError(problem, hint=f"make `kubectl get --raw {_DISCOVERY}` name an issuer") from error
        return Attachment(ANY, read_kubeconfig(self.kubeconfig), issuer_url, key_set=self.get(_KEYS))

    def get(self, path: str) -> str:
        """Return what the API server answers at `path`. Raise WispError."""
        return self.kubectl("get", "--raw", path)

    def kubectl(self, *arguments: str, timeout: float = _TIMEOUT) -> str:
        """Run kubectl and return what it printed. Raise WispError."""
        program = shutil.which("kubectl", path=self.environ.get("PATH"))
        if program is None:
            raise ToolError("there is no kubectl on PATH", hint="install it: https://kubernetes.io/docs/tasks/tools/")
        options = (f"--kubeconfig={self.kubeconfig}", f"--request-timeout={_REQUEST_TIMEOUT}s")
        done = run(ProcessContext((), self.environ), program, *options, *arguments, timeout=timeout)
        if done.status != 0:
            reason = " / ".join(tail(done.errors)[-2:]) or f"kubectl ended with status {done.status}"
            problem = f"`kubectl {' '.join(arguments[:3])}` failed ({reason})"
            raise WispError(problem, hint=f"make it work with {self.kubeconfig}")
        return done.output.reveal()


@dataclass(frozen=True)
class Lab:
    """A lab: its paths, the user's environment, and the cluster that it can start itself."""

    paths: LabPaths
    environ: Mapping[str, str]
    cluster: OwnCluster

    def api_server(self, kubeconfig: Path) -> ApiServer:
        """Return the API server of a kubeconfig; kubectl's cache is in the lab."""
        return ApiServer(kubeconfig, {**self.environ, "KUBECACHEDIR": str(self.paths.kube_cache)})


def attach_cluster(lab: Lab, record: Record, cloud: CloudProcess, attachment: Attachment | None) -> Attachment | None:
    """Attach the lab's own cluster, if the settings say so, or else `attachment`; None detaches the cluster.

    Return what is attached.
    """
    if record.settings.cluster.own:
        return _attach_own(lab, record, cloud)
    lab.cluster.stop()
    if attachment is None:
        with Store(lab.paths.state) as store:
            store.clusters.detach(ANY)
        lab.paths.manifest.unlink(missing_ok=True)
    else:
        _attach(lab, record, cloud, attachment)
    return attachment


def _attach_own(lab: Lab, record: Record, cloud: CloudProcess) -> Attachment:
    with Store(lab.paths.state) as store:
        issuer_url = cloud.url + store.issuers.put(ISSUER).path
    was_running = lab.cluster.is_running()
    if not was_running:
        lab.paths.kubeconfig.unlink(missing_ok=True)  # of a previous cluster: az would ask before it replaces entries
    server = lab.api_server(lab.cluster.start(issuer_url))
    attachment = server.attachment()
    _attach(lab, record, cloud, attachment)
    server.kubectl("apply", f"--filename={lab.paths.manifest}")
    if was_running and not record.settings.gateway:
        server.kubectl(*_REMOVE_GATEWAY)
    lab.cluster.load_images([Path(archive) for archive in record.settings.load])
    _wait_for_rollout(server, "wisp")
    _wait_for_admission(server, _PROBE, _ADMISSION_TIMEOUT)
    if record.settings.gateway:
        _wait_for_rollout(server, "wisp-gateway")
        _wait_for_admission(server, _GATEWAY_PROBE, _CA_TIMEOUT)
    return attachment


def _wait_for_rollout(server: ApiServer, deployment: str) -> None:
    options = (f"--namespace={_NAMESPACE}", f"--timeout={_ROLLOUT_TIMEOUT}s")
    server.kubectl("rollout", "status", f"deployment/{deployment}", *options, timeout=_ROLLOUT_TIMEOUT + 30)


def _wait_for_admission(server: ApiServer, probe: tuple[str, ...], timeout: float) -> None:
    """Wait until a pod is admitted: the webhook's Service is reached a moment after the webhook is ready."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            server.kubectl(*probe)
        except WispError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _attach(lab: Lab, record: Record, cloud: CloudProcess, attachment: Attachment) -> None:
    """Attach an API server, and write wisp's manifest for it."""
    with Store(lab.paths.state) as store:
        store.clusters.attach(attachment)
        tenant_id, certificate = store.tenant().id, store.authority.certificate_pem.decode()
    values = ManifestValues(tenant_id, f"{cloud.url}/", certificate, record.settings.image)
    write(lab.paths.manifest, fill_manifest(plain_manifest(gateway=record.settings.gateway), values))


def plain_manifest(*, gateway: bool) -> str:
    """Return wisp's manifest: package data, or in a checkout the file from which that is made."""
    name = "wisp-gateway.yaml" if gateway else "wisp.yaml"
    installed = importlib.resources.files("wisp_local.lab") / name
    source = Path(wisp.__file__).parents[2] / "deploy" / name
    for file in (installed, source):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise WispError("wisp's manifest is not in this installation", hint="install wisp again, from its wheel")
