"""`wisp cloud cluster`: the managed clusters of a local cloud, and the API servers behind them."""

import sys
from pathlib import Path

import click

from wisp_local.cli.shown import FILE, read_text, show, state_option
from wisp_local.cloud.backing import whole_kubeconfig
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.state.store import Store


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
        store.clusters.attach(Attachment(name, whole_kubeconfig(kubeconfig), issuer_url, _key_set(jwks)))
    show({"cluster": name, "issuerUrl": issuer_url or None, "keysGiven": jwks is not None})


@cluster.command()
@state_option
@click.argument("name", default=ANY)
def unback(state: Path, name: str) -> None:
    """Take the API server away again."""
    with Store(state) as store:
        store.clusters.detach(name)


@cluster.command("list")
@state_option
def list_clusters(state: Path) -> None:
    """List the clusters and what is behind them."""
    with Store(state) as store:
        for each in store.clusters.all():
            backing = store.clusters.attachment(each.name)
            about = {"name": each.name, "resourceGroup": each.resource_group, "location": each.location}
            behind = {"issuer": each.issuer or None, "issuerUrl": (backing and backing.issuer_url) or None}
            state_now = each.provisioning_state(store.clock())
            show({"id": each.resource_id, **about, "state": state_now, **behind, "backed": backing is not None})


def _key_set(path: Path | None) -> str:
    if path is None:
        return ""
    return sys.stdin.read() if str(path) == "-" else read_text(path)
