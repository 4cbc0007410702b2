"""Starts, inspects and stops a lab. Each reads the record, looks at what runs, and does only what is missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from wisp.base.errors import SettingError, WispError
from wisp_local.cloud.state.store import Store
from wisp_local.lab import cloud_process
from wisp_local.lab.cluster import Lab, attach_cluster
from wisp_local.lab.login import set_up_azure_cli
from wisp_local.lab.paths import create, delete, is_lab, load_record, locked, save_record
from wisp_local.lab.record import (
    CloudProcess,
    ListenOptions,
    Observation,
    Record,
    Settings,
    UpOptions,
    apply_options,
    listen_options,
    require_same_listener,
)


@dataclass(frozen=True)
class Started:
    """A lab that is up. `already`: its cloud was running before. `issuer_url`: of the attached cluster's tokens."""

    record: Record
    cloud: CloudProcess
    already: bool
    issuer_url: str | None = None


def up(lab: Lab, options: UpOptions) -> Started:
    """Start what does not run of the lab, with its settings and `options`. Raise WispError."""
    create(lab.paths)
    with locked(lab.paths):
        before = load_record(lab.paths) or Record(Settings(), None)
        settings = apply_options(before.settings, options)
        # The user's API server is asked before anything is started: an error leaves nothing behind.
        kubeconfig = settings.cluster.kubeconfig
        attachment = None if kubeconfig is None else lab.api_server(Path(kubeconfig)).attachment()
        listening = listen_options(settings, _prepare_cluster(lab, settings))
        cloud = _running(before)
        already = cloud is not None
        if cloud is None:
            cloud = _start_cloud(lab, listening, before)
        else:
            require_same_listener(cloud.listening, listening)
        record = Record(replace(settings, port=cloud.listening.port), cloud)
        save_record(lab.paths, record)
        set_up_azure_cli(lab.paths, cloud_process.local_url(cloud.listening))
        attached = attach_cluster(lab, record, cloud, attachment)
        return Started(record, cloud, already, None if attached is None else attached.issuer_url)


def _prepare_cluster(lab: Lab, settings: Settings) -> str | None:
    """Make the network of the lab's own cluster, in which the cloud listens."""
    if not settings.cluster.own:
        return None
    image = None if settings.image_archive is None else Path(settings.image_archive)
    return lab.cluster.prepare(image, [Path(archive) for archive in settings.load])


def _start_cloud(lab: Lab, listening: ListenOptions, before: Record) -> CloudProcess:
    """Start the cloud. It is recorded before it listens: if this process is killed, it is still found."""
    cloud_process.require_free(listening)
    component, starting = cloud_process.start(lab.paths, listening, lab.environ)
    save_record(lab.paths, replace(before, cloud=starting))
    try:
        return cloud_process.wait_until_listening(component, starting)
    except WispError:
        save_record(lab.paths, replace(before, cloud=None))
        raise


def load_images(lab: Lab, archives: Mapping[str, Path]) -> Iterator[str]:
    """Load images into the lab's own cluster and give their names. Messages call the archives by the keys.

    Raises WispError.
    """
    running_cloud(lab, hint="`wisp lab up --cluster` starts one with a cluster")
    with locked(lab.paths):
        record = load_record(lab.paths)
        if record is None or not record.settings.cluster.own:
            problem = f"the lab in {lab.paths.folder} has no cluster of its own to load images into"
            hint = "`wisp lab up --cluster` starts one; images for another cluster are loaded with its own tools"
            raise SettingError(problem, hint=hint)
        if not lab.cluster.is_running():
            raise WispError("the lab's cluster has ended", hint="`wisp lab up` starts a new one")
        for label, archive in archives.items():
            yield from lab.cluster.load(archive, label)


def down(lab: Lab) -> bool:
    """Stop everything that runs and wait for its end; tell whether anything ran. The lab's data stays."""
    if not is_lab(lab.paths):
        return False
    with locked(lab.paths):
        record = load_record(lab.paths)
        was_running = lab.cluster.is_running() or _running(record) is not None
        lab.cluster.stop()
        if record is not None and record.cloud is not None:
            cloud_process.stop(record.cloud)
            save_record(lab.paths, replace(record, cloud=None))
        return was_running


def down_and_purge(lab: Lab) -> bool:
    """Stop everything and delete the lab's data; tell whether there was a lab."""
    if not is_lab(lab.paths):
        return False
    down(lab)
    delete(lab.paths)
    return True


def inspect(lab: Lab) -> Observation:
    """Observe the lab without changing it."""
    record = load_record(lab.paths) if is_lab(lab.paths) else None
    identities = clusters = 0
    if record is not None and lab.paths.state.exists():
        with Store(lab.paths.state) as store:
            identities, clusters = len(store.identities()), len(store.clusters.all())
    cloud = _running(record)
    if record is None or cloud is None:
        return Observation(record, identities, clusters)
    return Observation(
        record,
        identities,
        clusters,
        is_running=True,
        answers=cloud_process.answers(lab.paths, cloud),
        cluster_problem=_cluster_problem(lab, record.settings),
    )


def _cluster_problem(lab: Lab, settings: Settings) -> str | None:
    if settings.cluster.own and not lab.cluster.is_running():
        return "the lab's cluster has ended: `wisp lab up` starts a new one"
    if settings.cluster.kubeconfig is not None:
        try:
            lab.api_server(Path(settings.cluster.kubeconfig)).get("/readyz")
        except WispError as error:
            return str(error)
    return None


def running_cloud(lab: Lab, hint: str = "`wisp lab up` starts it") -> CloudProcess:
    """Return the lab's running cloud. Raise WispError with `hint` if there is none."""
    cloud = _running(load_record(lab.paths))
    if cloud is None:
        raise WispError(f"no lab runs in {lab.paths.folder}", hint=hint)
    return cloud


def _running(record: Record | None) -> CloudProcess | None:
    cloud = None if record is None else record.cloud
    return cloud if cloud is not None and cloud_process.is_running(cloud) else None
