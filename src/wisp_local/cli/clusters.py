"""`wisp cloud cluster`: the managed clusters of a local cloud, and the API servers attached to them."""

import sys
from pathlib import Path

import click

from wisp_local.cli.options import FILE, read_text, show, state_option
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.kubeconfig import read_kubeconfig
from wisp_local.cloud.state.store import Store


@click.group()
def cluster() -> None:
    """Attach real API servers to managed clusters, and list the clusters."""


@cluster.command()
@state_option
@click.argument("name", default=ANY)
@click.option(
    "--kubeconfig", type=FILE, required=True, help="Kubeconfig that `az aks get-credentials` returns for the cluster."
)
@click.option(
    "--issuer",
    "issuer_url",
    default="",
    metavar="URL",
    help="Issuer URL of the API server's service account tokens. By default the issuer that this cloud runs for the "
    "cluster, which then publishes the keys of --jwks.",
)
@click.option(
    "--jwks",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File with the answer of the API server's /openid/v1/jwks; - reads standard input. By default the keys are "
    "fetched from the issuer.",
)
def attach(state: Path, name: str, kubeconfig: Path, issuer_url: str, jwks: Path | None) -> None:
    """Attach an API server to the cluster NAME, which need not exist yet.

    Without NAME it is attached to every cluster that has no API server of its own.
    """
    key_set = "" if jwks is None else sys.stdin.read() if str(jwks) == "-" else read_text(jwks)
    with Store(state) as store:
        store.clusters.attach(Attachment(name, read_kubeconfig(kubeconfig), issuer_url, key_set))
    show({"cluster": name, "issuerUrl": issuer_url or None, "keysGiven": jwks is not None})


@cluster.command()
@state_option
@click.argument("name", default=ANY)
def detach(state: Path, name: str) -> None:
    """Detach the API server from the cluster NAME; without NAME, the one attached to all clusters without their own."""
    with Store(state) as store:
        store.clusters.detach(name)


@cluster.command("list")
@state_option
def list_clusters(state: Path) -> None:
    """List the clusters, with their issuers and whether an API server is attached."""
    with Store(state) as store:
        for managed in store.clusters.all():
            attachment = store.clusters.attachment(managed.name)
            show(
                {
                    "id": managed.resource_id,
                    "name": managed.name,
                    "resourceGroup": managed.resource_group,
                    "location": managed.location,
                    "state": managed.provisioning_state(store.clock()),
                    "issuer": managed.issuer or None,
                    "issuerUrl": (attachment and attachment.issuer_url) or None,
                    "backed": attachment is not None,
                }
            )
