"""`wisp lab`: a local Azure that stays, and a shell in which the real `az` and `kubectl` are its."""

import json
import os
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from wisp.base.errors import WispError
from wisp_local.cli.failure import log_shown
from wisp_local.cli.labcluster import NodeCluster
from wisp_local.lab.az import MARK, MISSING
from wisp_local.lab.behind import Site
from wisp_local.lab.findings import Seen, kind_of, problems
from wisp_local.lab.keeping import Counted, Stood, down_and_purge, look, running_cloud
from wisp_local.lab.keeping import down as take_down
from wisp_local.lab.keeping import load as load_images
from wisp_local.lab.keeping import up as put_up
from wisp_local.lab.login import has_az
from wisp_local.lab.places import Places, default_folder
from wisp_local.lab.record import NOTHING, Asked, Behind, Cloud
from wisp_local.lab.serving import local_url
from wisp_local.lab.shell import Shell, entering, leaving
from wisp_local.sandbox.signals import unwinding

_FILE = click.Path(path_type=Path)
_STDIN = Path("-")
_LATEST = "pods that name {name} need imagePullPolicy: IfNotPresent, because Kubernetes pulls :latest every time"
_lab = click.option(
    "--lab",
    "folder",
    type=_FILE,
    envvar="WISP_LAB",
    show_envvar=True,
    metavar="FOLDER",
    help="The lab's folder.  [~/.local/state/wisp/lab]",
)


@click.group(name="lab")
def command() -> None:
    """Keep a local Azure up for the real az and kubectl, without touching your own ~/.azure and ~/.kube."""


@command.command()
@_lab
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the local cloud; 0 takes a free one.  [8443]")
@click.option("--host", "hosts", multiple=True, metavar="ADDRESS", help="Listen here too, for pods; repeatable.")
@click.option("--advertise", multiple=True, metavar="HOST", help="Name or address that pods use; repeatable.")
@click.option("--cluster", "own", is_flag=True, help="A Kubernetes on this machine behind `az aks` (root, Linux).")
@click.option("--kubeconfig", type=_FILE, metavar="FILE", help="A cluster of your own behind `az aks`.")
@click.option("--no-cluster", "none", is_flag=True, help="No cluster behind `az aks` any more.")
@click.option("--image", metavar="NAME", help="wisp's image, as the cluster's nodes find it.")
@click.option("--image-archive", type=_FILE, metavar="FILE", help="With --cluster: the image.  [dist/wisp-image.tar]")
@click.option("--load", type=_FILE, multiple=True, metavar="FILE", help="With --cluster: more images; repeatable.")
def up(
    folder: Path | None,
    kubeconfig: Path | None,
    image_archive: Path | None,
    load: tuple[Path, ...],
    *,
    own: bool,
    none: bool,
    **options: object,
) -> None:
    """Start the lab, or see that it runs; what it kept is there again, and what is not said stays as it was."""
    site = _site(folder)
    asked = Asked(
        behind=_behind(kubeconfig, own=own, none=none),
        image_archive=None if image_archive is None else str(image_archive.absolute()),
        load=tuple(str(each.absolute()) for each in load),
        **options,  # type: ignore[arg-type]  # click has checked them
    )
    with unwinding(), log_shown():
        stood = put_up(site, asked)
    click.echo("\n".join(_told(site, stood)))


@command.command()
@_lab
@click.option(
    "--shell",
    type=click.Choice([each.value for each in Shell]),
    default=Shell.POSIX.value,
    show_default=True,
    help="Whose language: posix is that of sh, bash, dash and zsh.",
)
@click.option("--unset", is_flag=True, help="What undoes it.")
def env(folder: Path | None, shell: str, *, unset: bool) -> None:
    """Print what makes a shell the lab's: eval "$(wisp lab env)"."""
    if unset:
        lines = leaving(lambda each: Path(each, MARK).exists(), os.environ, Shell(shell))
    else:
        site = _site(folder)
        try:
            running_cloud(site)
        except WispError:
            click.echo("false")  # for eval, which would succeed at evaluating nothing
            raise
        lines = entering(_variables(site.places), str(site.places.programs), os.environ, Shell(shell))
    click.echo("\n".join(lines))


@command.command()
@_lab
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(folder: Path | None, *, as_json: bool) -> int:
    """Say what runs, and what is wrong; the exit status is 0 when all runs that should, else 1."""
    site = _site(folder)
    seen, counted = look(site)
    said = json.dumps(_document(site, seen, counted)) if as_json else "\n".join(_lines(site, seen, counted))
    click.echo(said)
    return 1 if problems(seen) else 0


@command.command()
@_lab
@click.argument("archives", nargs=-1, required=True, type=_FILE, metavar="IMAGE.tar...")
def load(folder: Path | None, archives: tuple[Path, ...]) -> None:
    """Load images into the lab's own cluster, and print their names.

    IMAGE.tar is what `docker save` or `buildah push oci-archive:...` writes, compressed or not, or - for standard
    input. The images are there until `wisp lab down`.
    """
    if archives.count(_STDIN) > 1:
        raise click.UsageError("- is given more than once, and standard input can be read only once")
    if _STDIN in archives and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: docker save NAME:TAG | wisp lab load -")
    site = _site(folder)
    named = {_shown(each): Path("/dev/stdin") if each == _STDIN else each.absolute() for each in archives}
    with unwinding():
        for name in load_images(site, named):
            click.echo(name)
            if name.endswith(":latest"):
                click.echo(f"note: {_LATEST.format(name=name)}", err=True)


@command.command()
@_lab
@click.option("--purge", is_flag=True, help="Delete what the lab kept, too: resources, keys, logins, logs.")
def down(folder: Path | None, *, purge: bool) -> None:
    """End all that runs. What the lab kept stays for the next `wisp lab up`."""
    site = _site(folder)
    done = (down_and_purge if purge else take_down)(site)
    gone = "gone, with all that it kept" if purge else f"down; what it kept is in {site.places.folder}"
    click.echo(f"The lab is {gone}." if done else "No lab was running.")


def _shown(archive: Path) -> str:
    return "standard input" if archive == _STDIN else str(archive)


def _site(folder: Path | None) -> Site:
    found = folder.absolute() if folder is not None else default_folder(os.environ, _home())
    places = Places(found)
    return Site(places, os.environ, NodeCluster(places))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor the user's entry in the list of users says
        return None


def _behind(kubeconfig: Path | None, *, own: bool, none: bool) -> Behind | None:
    if (kubeconfig is not None) + own + none > 1:
        raise click.UsageError("--cluster, --kubeconfig and --no-cluster exclude each other")
    if kubeconfig is None and not own and not none:
        return None
    return NOTHING if none else Behind(None if kubeconfig is None else str(kubeconfig.absolute()), own)


def _variables(places: Places) -> dict[str, str]:
    return {
        "WISP_LAB": str(places.folder),
        "AZURE_CONFIG_DIR": str(places.azure),
        "KUBECONFIG": str(places.kubeconfig),
        "KUBECACHEDIR": str(places.kube_cache),
    }


def _told(site: Site, stood: Stood) -> list[str]:
    """Say what is there and what to type next."""
    cloud, behind = stood.cloud, stood.record.wanted.behind
    state = "runs already" if stood.already else "is up"
    folder = site.places.folder
    named = "" if folder == default_folder(os.environ, _home()) else f" --lab={shlex.quote(str(folder))}"
    lines = [
        f"The lab {state}: a local Azure at {local_url(cloud.listening)}",
        *([f"  page     {cloud.page}"] if cloud.page else []),
        f"  folder   {folder}",
        f"  cluster  {_CLUSTER[kind_of(behind)].format(kubeconfig=behind.kubeconfig)}",
    ]
    if behind.kubeconfig is not None:
        kubeconfig = shlex.quote(behind.kubeconfig)
        lines += [
            f"  webhook  kubectl --kubeconfig={kubeconfig} apply --filename={shlex.quote(str(site.places.manifest))}"
        ]
        lines += [_UNREACHABLE] if not cloud.listening.advertise else []
    if behind.own:
        lines += [f"  admin    {site.places.admin_kubeconfig} (the administrator's kubeconfig)"]
    if not has_az(os.environ):
        lines += [f"  note     {MISSING}"]
    return [*lines, "Next, in every shell that is to use it:", f'  eval "$(wisp lab env{named})"', _FIRST]


_CLUSTER = {
    "none": "none: `az aks create` makes a record (--kubeconfig FILE puts a real one behind it)",
    "kubeconfig": "that of {kubeconfig}, behind every `az aks create`",
    "cluster": "a Kubernetes on this machine, behind every `az aks create`; wisp's webhook is in it",
}
_UNREACHABLE = "  note     pods cannot reach 127.0.0.1: `wisp lab down`, then up with --host ADDRESS of this machine"
_FIRST = "  az group create -g WorkloadIdentityRG -l eastus"


def _document(site: Site, seen: Seen, counted: Counted) -> dict[str, object]:
    """Make what `--json` prints."""
    behind = seen.record.wanted.behind if seen.record else NOTHING
    return {
        "folder": str(site.places.folder),
        "running": None if seen.running is None else _running(seen.running),
        "caFile": str(site.places.authority),
        "cluster": {"kind": kind_of(behind), "kubeconfig": _kubeconfig(site, behind)},
        **asdict(counted),
        "problems": problems(seen),
    }


def _kubeconfig(site: Site, behind: Behind) -> str | None:
    return str(site.places.admin_kubeconfig) if behind.own else behind.kubeconfig


def _running(cloud: Cloud) -> dict[str, object]:
    return {
        "url": local_url(cloud.listening),
        "advertisedUrl": cloud.url,
        "page": cloud.page,
        "pid": cloud.pid,
        "since": _moment(cloud),
    }


def _moment(cloud: Cloud) -> str:
    return datetime.fromtimestamp(int(cloud.since), UTC).isoformat()


def _lines(site: Site, seen: Seen, counted: Counted) -> list[str]:
    """Say it as people read it."""
    lines = [f"folder      {site.places.folder}"]
    if seen.record is not None and seen.running is not None:
        cloud, behind = seen.running, seen.record.wanted.behind
        lines += [
            f"cloud       {local_url(cloud.listening)}, process {cloud.pid}, since {_moment(cloud)}",
            f"page        {cloud.page or 'none'}",
            f"CA          {site.places.authority}",
            f"behind aks  {behind.kubeconfig or kind_of(behind)}",
            *([f"admin       {site.places.admin_kubeconfig}"] if behind.own else []),
        ]
    lines += [f"identities  {counted.identities}", f"clusters    {counted.clusters}"]
    return lines + [f"problem     {each}" for each in problems(seen)]
