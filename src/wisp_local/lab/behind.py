"""Puts a real API server behind the lab's managed clusters, and the webhook's manifest into its folder."""

import importlib.resources
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import wisp
from wisp.base.errors import WispError
from wisp_local.cloud.backing import whole_kubeconfig
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.state.store import Store
from wisp_local.lab.apiserver import ApiServer, Published
from wisp_local.lab.manifest import Filling, filled
from wisp_local.lab.places import Places, write
from wisp_local.lab.record import Cloud, Record

ISSUER = "lab"
"""Name of the issuer that the cloud runs for the lab's own cluster."""
_ROLLOUT = 180  # seconds
_ADMISSION = 60  # seconds
_PAUSE = 0.2
_PROBE = (
    *("run", "wisp-probe", "--image=wisp", "--restart=Never", "--labels=azure.workload.identity/use=true"),
    *("--dry-run=server", "--output=name"),
)
"""A pod that is not made."""


class OwnCluster(Protocol):
    """A Kubernetes that the lab starts and ends with itself."""

    def prepare(self, image: Path | None, load: Sequence[Path]) -> str:
        """Make its network, if it is not there; return this machine's address in it.

        `image` is the archive of wisp's image, `load` are those of more images: they are checked.
        """
        ...

    def start(self, issuer_url: str) -> Path:
        """Start it with wisp's image, unless it runs; return the kubeconfig when it is ready."""
        ...

    def finish(self, load: Sequence[Path]) -> None:
        """Load the other images that it has from the start, and those of `load`; pods can start meanwhile."""
        ...

    def load(self, archive: Path, shown: str) -> list[str]:
        """Load the images of an archive, called `shown` in messages; return the names by which pods find them."""
        ...

    def stop(self) -> None:
        """End it with all that is in it; nothing happens when it does not run."""
        ...

    def is_running(self) -> bool:
        """Tell whether it runs."""
        ...


@dataclass(frozen=True)
class Site:
    """Where a lab is: its places, the user's environment, and the cluster that it can have."""

    places: Places
    environ: Mapping[str, str]
    cluster: OwnCluster

    def server(self, kubeconfig: Path) -> ApiServer:
        """Return the API server of that kubeconfig; what kubectl keeps of it is kept in the lab."""
        return ApiServer(kubeconfig, {**self.environ, "KUBECACHEDIR": str(self.places.kube_cache)})


def put(site: Site, record: Record, cloud: Cloud, published: Published | None) -> None:
    """Put behind the clusters what is wanted there; `published` is what the user's own API server said."""
    behind = record.wanted.behind
    if not behind.own:
        site.cluster.stop()
    if behind.own:
        _put_own(site, record, cloud)
    elif behind.kubeconfig is not None and published is not None:
        _back(site, Path(behind.kubeconfig), published)
        _write_manifest(site, record, cloud)
    else:
        with Store(site.places.state) as store:
            store.clusters.detach(ANY)
        site.places.manifest.unlink(missing_ok=True)


def _put_own(site: Site, record: Record, cloud: Cloud) -> None:
    with Store(site.places.state) as store:
        issuer_url = cloud.url + store.issuers.put(ISSUER).path
    if not site.cluster.is_running():
        site.places.kubeconfig.unlink(missing_ok=True)  # of one that is gone: az would ask before it replaces that
    kubeconfig = site.cluster.start(issuer_url)
    server = site.server(kubeconfig)
    _back(site, kubeconfig, server.published())
    _write_manifest(site, record, cloud)
    server.kubectl("apply", f"--filename={site.places.manifest}")
    site.cluster.finish([Path(each) for each in record.wanted.load])
    waiting = ("rollout", "status", "deployment/wisp", "--namespace=wisp-system", f"--timeout={_ROLLOUT}s")
    server.kubectl(*waiting, timeout=_ROLLOUT + 30)
    _await_admission(server)


def _await_admission(server: ApiServer) -> None:
    """Wait until a labelled pod would be let in: the way to the webhook's Service is there a moment after itself."""
    deadline = time.monotonic() + _ADMISSION
    while True:
        try:
            server.kubectl(*_PROBE)
        except WispError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _back(site: Site, kubeconfig: Path, published: Published) -> None:
    backing = Attachment(ANY, whole_kubeconfig(kubeconfig), published.issuer_url, published.key_set)
    with Store(site.places.state) as store:
        store.clusters.attach(backing)


def _write_manifest(site: Site, record: Record, cloud: Cloud) -> None:
    with Store(site.places.state) as store:
        tenant_id, certificate = store.tenant().id, store.authority.certificate_pem.decode()
    filling = Filling(tenant_id, f"{cloud.url}/", certificate, record.wanted.image)
    write(site.places.manifest, filled(plain_manifest(), filling))


def plain_manifest() -> str:
    """Return the webhook's manifest: package data, in a checkout the file that this is made of."""
    installed = importlib.resources.files("wisp_local.lab") / "wisp.yaml"
    source = Path(wisp.__file__).parents[2] / "deploy" / "wisp.yaml"
    for each in (installed, source):
        if each.is_file():
            return each.read_text(encoding="utf-8")
    raise WispError("wisp's manifest is not in this installation", hint="install wisp anew, from its wheel")
