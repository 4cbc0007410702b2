"""`wisp cloud cluster`: the managed clusters of a local cloud, and the API servers behind them."""

import base64
import sys
from pathlib import Path

import click

from wisp.cli.shown import FILE, read_text, show, state_option
from wisp.cloud.arm import kubeconfig as kubeconfigs
from wisp.cloud.cluster import ANY, Backing
from wisp.cloud.store import Store
from wisp.errors import SettingError


@click.group()
def cluster() -> None:
    """Put real API servers behind managed clusters, and list these."""


@cluster.command()
@state_option
@click.argument("name", default=ANY)
@click.option("--kubeconfig", type=FILE, required=True, help="Credentials that `az aks get-credentials` shall give.")
@click.option("--issuer", "issuer_url", default="", metavar="URL", help="Issuer of its service account tokens.")
@click.option(
    "--jwks",
    type=click.Path(path_type=Path, allow_dash=True),
    help="What its /openid/v1/jwks answers; - reads it. Without, the issuer is asked for its keys.",
)
def back(state: Path, name: str, kubeconfig: Path, issuer_url: str, jwks: Path | None) -> None:
    """Put an API server behind the cluster NAME, made or still to be made; without NAME behind all that have none.

    Without --issuer the issuer is the one that this cloud runs for the cluster: it publishes the keys of --jwks.
    """
    with Store(state) as store:
        store.fleet.back(Backing(name, _whole(kubeconfig), issuer_url, _key_set(jwks)))
    show({"cluster": name, "issuerUrl": issuer_url or None, "keysGiven": jwks is not None})


@cluster.command()
@state_option
@click.argument("name", default=ANY)
def unback(state: Path, name: str) -> None:
    """Take the API server away again."""
    with Store(state) as store:
        store.fleet.unback(name)


@cluster.command("list")
@state_option
def list_clusters(state: Path) -> None:
    """List the clusters and what is behind them."""
    with Store(state) as store:
        for each in store.fleet.clusters():
            backing = store.fleet.backing(each.name)
            about = {"name": each.name, "resourceGroup": each.resource_group, "location": each.location}
            behind = {"issuer": each.issuer or None, "issuerUrl": (backing and backing.issuer_url) or None}
            state_now = each.provisioning_state(store.clock())
            show({"id": each.resource_id, **about, "state": state_now, **behind, "backed": backing is not None})


def _key_set(path: Path | None) -> str:
    if path is None:
        return ""
    return sys.stdin.read() if str(path) == "-" else read_text(path)


def _whole(path: Path) -> str:
    """Read a kubeconfig with the files it leans on: the cloud gives it to whoever asks, elsewhere."""
    text = read_text(path)
    try:
        contents = {
            name: base64.b64encode((path.parent / file).read_bytes()).decode()
            for name, file in kubeconfigs.files(text).items()
        }
    except OSError as error:
        problem = f"a file that {path} names cannot be read ({error.strerror})"
        raise SettingError(problem, remedy="correct the kubeconfig") from error
    return kubeconfigs.whole(text, contents)
