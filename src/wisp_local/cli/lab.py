"""`wisp lab`: a local Azure that outlives the command, and shells in which the real `az` and `kubectl` use it."""

import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from wisp.base.errors import WispError
from wisp_local.cloud.cluster import GATEWAY_SUBJECT
from wisp_local.lab import lifecycle
from wisp_local.lab.azure_cli import MARK, MISSING, Shell, enter_lab, leave_lab
from wisp_local.lab.cloud_process import local_url
from wisp_local.lab.cluster import Lab
from wisp_local.lab.login import has_azure_cli
from wisp_local.lab.own_cluster import OwnCluster
from wisp_local.lab.paths import LabPaths, default_folder
from wisp_local.lab.record import NO_CLUSTER, AttachedCluster, CloudProcess, Observation, UpOptions, problems
from wisp_local.sandbox.folders import home_folder
from wisp_local.sandbox.signals import unwinding

_FILE = click.Path(path_type=Path)
_STDIN = Path("-")
_lab = click.option(
    "--lab",
    "folder",
    type=_FILE,
    envvar="WISP_LAB",
    show_envvar=True,
    metavar="FOLDER",
    help="The lab's folder.  [default: ~/.local/state/wisp/lab]",
)


@click.group(name="lab")
def command() -> None:
    """Run a local Azure for the real az and kubectl, without touching your own ~/.azure and ~/.kube."""


@command.command()
@_lab
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the cloud; 0 chooses a free one.  [default: 8443]")
@click.option("--host", "hosts", multiple=True, metavar="ADDRESS", help="Another address to listen on, for pods.")
@click.option("--advertise", multiple=True, metavar="HOST", help="Name or address by which pods reach the cloud.")
@click.option("--cluster", "own", is_flag=True, help="Start a Kubernetes cluster on this machine (root, Linux).")
@click.option("--kubeconfig", type=_FILE, metavar="FILE", help="Attach the cluster of this kubeconfig.")
@click.option("--no-cluster", "detach", is_flag=True, help="Detach the cluster.")
@click.option(
    "--gateway/--no-gateway",
    default=None,
    help="Whether the cluster has the token gateway, with which one federated credential serves all its workloads.",
)
@click.option("--image", metavar="NAME", help="Name of wisp's image on the nodes of the cluster.")
@click.option(
    "--image-archive", type=_FILE, metavar="FILE", help="Archive of the image.  [default: dist/wisp-image.tar]"
)
@click.option("--load", type=_FILE, multiple=True, metavar="FILE", help="Archive of images to load into the cluster.")
def up(
    folder: Path | None,
    kubeconfig: Path | None,
    image_archive: Path | None,
    load: tuple[Path, ...],
    *,
    own: bool,
    detach: bool,
    **options: object,
) -> None:
    """Start the lab with its data, or report that it runs.

    Settings stay until an option changes them. --host, --advertise and --load can be given several times.
    """
    lab = _open_lab(folder)
    up_options = UpOptions(
        cluster=_cluster_option(kubeconfig, own=own, detach=detach),
        image_archive=None if image_archive is None else str(image_archive.absolute()),
        load=tuple(str(archive.absolute()) for archive in load),
        **options,  # type: ignore[arg-type]  # click has checked them
    )
    with unwinding():
        started = lifecycle.up(lab, up_options)
    click.echo("\n".join(_summary(lab, started)))


@command.command()
@_lab
@click.option(
    "--shell",
    type=click.Choice([shell.value for shell in Shell]),
    default=Shell.POSIX.value,
    show_default=True,
    help="Language of the shell: posix is that of sh, bash, dash and zsh.",
)
@click.option("--unset", is_flag=True, help="Print the commands that make the shell leave the lab.")
def env(folder: Path | None, shell: str, *, unset: bool) -> None:
    """Print commands that make a shell use the lab: eval "$(wisp lab env)"."""
    if unset:
        lines = leave_lab(lambda path: Path(path, MARK).exists(), os.environ, Shell(shell))
    else:
        lab = _open_lab(folder)
        try:
            lifecycle.running_cloud(lab)
        except WispError:
            click.echo("false")  # eval would evaluate nothing, and succeed
            raise
        variables = {
            "WISP_LAB": str(lab.paths.folder),
            "AZURE_CONFIG_DIR": str(lab.paths.azure),
            "KUBECONFIG": str(lab.paths.kubeconfig),
            "KUBECACHEDIR": str(lab.paths.kube_cache),
        }
        lines = enter_lab(variables, str(lab.paths.programs), os.environ, Shell(shell))
    click.echo("\n".join(lines))


@command.command()
@_lab
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(folder: Path | None, *, as_json: bool) -> int:
    """Show what runs and what is wrong. The exit status is 0 if everything runs that should, else 1."""
    lab = _open_lab(folder)
    observation = lifecycle.inspect(lab)
    click.echo((_status_json if as_json else _status_text)(lab, observation))
    return 1 if problems(observation) else 0


@command.command()
@_lab
@click.argument("archives", nargs=-1, required=True, type=_FILE, metavar="IMAGE.tar...")
def load(folder: Path | None, archives: tuple[Path, ...]) -> None:
    """Load images into the lab's own cluster, and print their names.

    IMAGE.tar is written by `docker save` or `buildah push oci-archive:...`, compressed or not; - is standard input.
    The images stay until `wisp lab down`.
    """
    if archives.count(_STDIN) > 1:
        raise click.UsageError("- is given more than once, and standard input can be read only once")
    if _STDIN in archives and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: docker save NAME:TAG | wisp lab load -")
    lab = _open_lab(folder)
    labelled = {}
    for archive in archives:
        if archive == _STDIN:
            labelled["standard input"] = Path("/dev/stdin")
        else:
            labelled[str(archive)] = archive.absolute()
    with unwinding():
        for name in lifecycle.load_images(lab, labelled):
            click.echo(name)
            if name.endswith(":latest"):
                note = f"note: pods with {name} need imagePullPolicy: IfNotPresent, because Kubernetes always pulls"
                click.echo(f"{note} :latest", err=True)


@command.command()
@_lab
@click.option("--purge", is_flag=True, help="Delete the lab's data: resources, keys, logins, logs.")
def down(folder: Path | None, *, purge: bool) -> None:
    """Stop everything that runs. The lab's data stays for the next `wisp lab up`."""
    lab = _open_lab(folder)
    ended = (lifecycle.down_and_purge if purge else lifecycle.down)(lab)
    result = "deleted with all its data" if purge else f"down; its data stays in {lab.paths.folder}"
    click.echo(f"The lab is {result}." if ended else "No lab was running.")


def _open_lab(folder: Path | None) -> Lab:
    paths = LabPaths(folder.absolute() if folder is not None else default_folder(os.environ, home_folder()))
    return Lab(paths, os.environ, OwnCluster(paths))


def _cluster_option(kubeconfig: Path | None, *, own: bool, detach: bool) -> AttachedCluster | None:
    if (kubeconfig is not None) + own + detach > 1:
        raise click.UsageError("--cluster, --kubeconfig and --no-cluster exclude each other")
    if kubeconfig is None and not own and not detach:
        return None
    return AttachedCluster(None if kubeconfig is None else str(kubeconfig.absolute()), own)


def _summary(lab: Lab, started: lifecycle.Started) -> list[str]:
    """Return what `up` prints: what runs, and the commands to type next."""
    cloud, cluster, paths = started.cloud, started.record.settings.cluster, lab.paths
    lines = [
        f"The lab {'runs already' if started.already else 'is up'}: a local Azure at {local_url(cloud.listening)}",
        *([f"  page     {cloud.page}"] if cloud.page else []),
        f"  folder   {paths.folder}",
    ]
    if cluster.own:
        lines += [
            "  cluster  a Kubernetes on this machine, for every `az aks create`, with wisp's webhook in it",
            f"  admin    {paths.admin_kubeconfig} (the administrator's kubeconfig)",
        ]
    elif cluster.kubeconfig is not None:
        kubeconfig, manifest = shlex.quote(cluster.kubeconfig), shlex.quote(str(paths.manifest))
        lines += [
            f"  cluster  that of {cluster.kubeconfig}, for every `az aks create`",
            f"  webhook  kubectl --kubeconfig={kubeconfig} apply --filename={manifest}",
        ]
        if not cloud.listening.advertise:
            hint = "`wisp lab down`, then up with --host ADDRESS of this machine"
            lines += [f"  note     pods cannot reach 127.0.0.1: {hint}"]
    else:
        lines += ["  cluster  none: `az aks create` makes a record (--kubeconfig FILE attaches a real one)"]
    if started.record.settings.has_gateway:
        lines += [
            f"  gateway  {GATEWAY_SUBJECT} (the subject for identities' federated credentials)",
            f"  issuer   {started.issuer_url}",
        ]
    if not has_azure_cli(os.environ):
        lines += [f"  note     {MISSING}"]
    is_default = paths.folder == default_folder(os.environ, home_folder())
    option = "" if is_default else f" --lab={shlex.quote(str(paths.folder))}"
    return [
        *lines,
        "Next, in every shell that should use the lab:",
        f'  eval "$(wisp lab env{option})"',
        "  az group create -g WorkloadIdentityRG -l eastus",
    ]


def _status_json(lab: Lab, observation: Observation) -> str:
    cluster = observation.record.settings.cluster if observation.record else NO_CLUSTER
    running = None
    if observation.cloud is not None:
        running = {
            "url": local_url(observation.cloud.listening),
            "advertisedUrl": observation.cloud.url,
            "page": observation.cloud.page,
            "pid": observation.cloud.pid,
            "since": _start_time(observation.cloud),
        }
    kubeconfig = str(lab.paths.admin_kubeconfig) if cluster.own else cluster.kubeconfig
    return json.dumps(
        {
            "folder": str(lab.paths.folder),
            "running": running,
            "caFile": str(lab.paths.authority),
            "cluster": {"kind": cluster.kind, "kubeconfig": kubeconfig},
            "identities": observation.identities,
            "clusters": observation.clusters,
            "problems": problems(observation),
        }
    )


def _status_text(lab: Lab, observation: Observation) -> str:
    lines = [f"folder      {lab.paths.folder}"]
    if observation.record is not None and observation.cloud is not None:
        cloud, cluster = observation.cloud, observation.record.settings.cluster
        lines += [
            f"cloud       {local_url(cloud.listening)}, process {cloud.pid}, since {_start_time(cloud)}",
            f"page        {cloud.page or 'none'}",
            f"CA          {lab.paths.authority}",
            f"cluster     {cluster.kubeconfig or cluster.kind}",
            *([f"admin       {lab.paths.admin_kubeconfig}"] if cluster.own else []),
            *([f"gateway     {GATEWAY_SUBJECT}"] if observation.record.settings.has_gateway else []),
        ]
    lines += [f"identities  {observation.identities}", f"clusters    {observation.clusters}"]
    return "\n".join(lines + [f"problem     {problem}" for problem in problems(observation)])


def _start_time(cloud: CloudProcess) -> str:
    return datetime.fromtimestamp(int(cloud.since), UTC).isoformat()
