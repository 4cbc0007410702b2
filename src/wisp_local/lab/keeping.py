"""A lab's life: up, seen, down. Each looks at what is written and what runs, and does only what is missing."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wisp.base.errors import SettingError, WispError
from wisp_local.cloud.state.store import Store
from wisp_local.lab import serving
from wisp_local.lab.apiserver import Published
from wisp_local.lab.behind import Site, put
from wisp_local.lab.findings import Seen
from wisp_local.lab.login import equip
from wisp_local.lab.places import is_lab, keep_record, locked, make, purge, read_record
from wisp_local.lab.record import Asked, Cloud, Listening, Record, Wanted, changed, listening, must_be_as_it_runs


@dataclass(frozen=True)
class Stood:
    """A lab that is up; `already`: its cloud was running before."""

    record: Record
    cloud: Cloud
    already: bool


def up(site: Site, asked: Asked) -> Stood:
    """Let the lab stand as `asked`, with what it kept; raises `WispError`. What runs already goes on."""
    make(site.places)
    with locked(site.places):
        before = read_record(site.places) or Record(Wanted())
        wanted = changed(before.wanted, asked)
        published = _published(site, wanted)
        how = listening(wanted, _prepared(site, wanted))
        already = before.cloud if serving.is_running(before.cloud) else None
        cloud = _started(site, how, before) if already is None else _as_it_runs(already, how)
        record = Record(replace(wanted, port=cloud.listening.port), cloud)
        keep_record(site.places, record)
        equip(site.places, serving.local_url(cloud.listening))
        put(site, record, cloud, published)
        return Stood(record, cloud, already is not None)


def _published(site: Site, wanted: Wanted) -> Published | None:
    """Ask the user's API server before anything is started: nothing is left of a lab that cannot be."""
    if wanted.behind.kubeconfig is None:
        return None
    return site.server(Path(wanted.behind.kubeconfig)).published()


def _prepared(site: Site, wanted: Wanted) -> str | None:
    """Make the network of the lab's own cluster, where the cloud has to listen."""
    if not wanted.behind.own:
        return None
    image = None if wanted.image_archive is None else Path(wanted.image_archive)
    return site.cluster.prepare(image, [Path(each) for each in wanted.load])


def _as_it_runs(cloud: Cloud, how: Listening) -> Cloud:
    must_be_as_it_runs(cloud.listening, how)
    return cloud


def _started(site: Site, how: Listening, before: Record) -> Cloud:
    """Start the cloud; it is in writing before it listens, so that no end of ours can hide it."""
    serving.must_be_free(how)
    component, starting = serving.start(site.places, how, site.environ)
    keep_record(site.places, replace(before, cloud=starting))
    try:
        return serving.listened(component, starting)
    except WispError:
        keep_record(site.places, replace(before, cloud=None))
        raise


def load(site: Site, archives: Mapping[str, Path]) -> Iterator[str]:
    """Load images into the lab's own cluster, and give the names of each; the keys are what messages call the archives.

    Raises `WispError`.
    """
    running_cloud(site, hint="`wisp lab up --cluster` starts one with a cluster")
    with locked(site.places):
        record = read_record(site.places)
        if record is None or not record.wanted.behind.own:
            problem = f"the lab in {site.places.folder} has no cluster of its own to load images into"
            hint = "`wisp lab up --cluster` starts one; images for another cluster are loaded with its own tools"
            raise SettingError(problem, hint=hint)
        if not site.cluster.is_running():
            raise WispError("the lab's cluster has ended", hint="`wisp lab up` starts a new one")
        for shown, archive in archives.items():
            yield from site.cluster.load(archive, shown)


def down(site: Site) -> bool:
    """End all that runs and wait for that; tell whether anything did. What the lab kept stays."""
    if not is_lab(site.places):
        return False
    with locked(site.places):
        record = read_record(site.places)
        ran = site.cluster.is_running()
        site.cluster.stop()
        if record is None or record.cloud is None:
            return ran
        ran = serving.is_running(record.cloud) or ran
        serving.end(record.cloud)
        keep_record(site.places, replace(record, cloud=None))
        return ran


def down_and_purge(site: Site) -> bool:
    """End all that runs, and delete all that the lab kept; tell whether there was anything."""
    if not is_lab(site.places):
        return False
    down(site)
    purge(site.places)
    return True


@dataclass(frozen=True)
class Counted:
    """How many of its things a lab has."""

    identities: int = 0
    clusters: int = 0


def look(site: Site) -> tuple[Seen, Counted]:
    """Look at the lab without touching it."""
    record = read_record(site.places) if is_lab(site.places) else None
    counted = Counted() if record is None or not site.places.state.exists() else _count(site)
    if record is None or record.cloud is None or not serving.is_running(record.cloud):
        return Seen(record), counted
    answers = serving.answers(site.places, record.cloud)
    return Seen(record, runs=True, answers=answers, behind=_wrong_behind(site, record)), counted


def _count(site: Site) -> Counted:
    with Store(site.places.state) as store:
        return Counted(len(store.identities()), len(store.clusters.all()))


def _wrong_behind(site: Site, record: Record) -> str | None:
    behind = record.wanted.behind
    if behind.own and not site.cluster.is_running():
        return "the lab's cluster has ended: `wisp lab up` starts a new one"
    if behind.kubeconfig is not None:
        try:
            site.server(Path(behind.kubeconfig)).get("/readyz")
        except WispError as error:
            return str(error)
    return None


def running_cloud(site: Site, hint: str = "`wisp lab up` starts it") -> Cloud:
    """Return the lab's running cloud; raises `WispError`, with that `remedy`, when there is none."""
    with contextlib.suppress(FileNotFoundError):
        record = read_record(site.places)
        if record is not None and record.cloud is not None and serving.is_running(record.cloud):
            return record.cloud
    raise WispError(f"no lab runs in {site.places.folder}", hint=hint)
