"""`wisp cloud`: run a local Azure, and fill it while it runs: all share the state file."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from wisp.base.errors import SettingError
from wisp.base.files import write_atomically
from wisp.base.isolation import forbid_core_dumps
from wisp.base.secret import Secret
from wisp_local.cli.clusters import cluster
from wisp_local.cli.principals import principal
from wisp_local.cli.shown import query_option, show, state_option
from wisp_local.cloud.arm.call import OPERATION_SECONDS
from wisp_local.cloud.arm.writing import WRITE_SECONDS
from wisp_local.cloud.entra.audiences import AzureCloud
from wisp_local.cloud.entra.claims import DEFAULT_LIFETIME
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, ManagedIdentity
from wisp_local.cloud.issuer import MINIMUM_LIFETIME, Issuer, Projection, service_account_token
from wisp_local.cloud.seed import json_schema
from wisp_local.cloud.seeding import apply_seed, load_seed
from wisp_local.cloud.serving import Settings
from wisp_local.cloud.serving import serve as serve_cloud
from wisp_local.cloud.state.store import Store

_FILE = click.Path(path_type=Path)
_group = click.option("-g", "--resource-group", "group", required=True, help="Name of the resource group.")
_url = click.option("--url", help="Base URL of the cloud, for the issuer's; without it, the path alone is shown.")


@click.group()
def command() -> None:
    """Run a local Azure: Entra's token endpoint, Resource Manager and OIDC issuers."""
    forbid_core_dumps()


command.add_command(principal)
command.add_command(cluster)


@command.command()
@state_option
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=["127.0.0.1"],
    show_default=True,
    metavar="HOST",
    help="Address to listen on; repeatable.",
)
@click.option("--port", default=8443, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free port.")
@click.option("--advertise", multiple=True, metavar="HOST", help="Name or address that clients use; repeatable.")
@click.option(
    "--token-lifetime", default=DEFAULT_LIFETIME, show_default=True, type=click.IntRange(1), help="In seconds."
)
@click.option("--issuer-ca", type=_FILE, help="PEM file of CAs to trust for issuers elsewhere.")
@click.option("--seed", type=_FILE, help="YAML or JSON file of what is to be there; see `wisp cloud seed`.")
@click.option("--issuer-base", "issuer_bases", multiple=True, metavar="URL", help="Base URL in its issuers' URLs, too.")
@click.option("--page/--no-page", default=None, help="Serve the web page at /; by default on loopback only.")
@click.option(
    "--operation-seconds",
    default=OPERATION_SECONDS,
    show_default=True,
    type=click.FloatRange(0),
    help="How long a cluster takes to be created, updated or deleted.",
)
@click.option(
    "--write-seconds",
    default=WRITE_SECONDS,
    show_default=True,
    type=click.FloatRange(0, 10),
    help="How long a federated credential takes to be written; meanwhile another write to its identity is a 409.",
)
@click.option(
    "--propagation",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds until a new federated credential is known; until then the answer is AADSTS70021, for the first "
    "credential of an identity AADSTS70025.",
)
@click.option(
    "--azure-cloud",
    default=AzureCloud.PUBLIC.value,
    show_default=True,
    type=click.Choice([each.value for each in AzureCloud]),
    callback=lambda _context, _option, value: AzureCloud(value),
    help="Cloud of Azure whose services tokens can be requested for.",
)
@click.option("--quiet", is_flag=True, help="Log no line for each request.")
def serve(**options: object) -> None:
    """Serve until SIGTERM or Ctrl-C; prints one JSON line when it listens, logs one for each request."""
    serve_cloud(Settings(**options))  # type: ignore[arg-type]  # click has checked them


@command.command()
@state_option
def ca(state: Path) -> None:
    """Print the CA's certificate (PEM): what clients must trust."""
    with Store(state) as store:
        click.echo(store.authority.certificate_pem.decode(), nl=False)


@command.command("seed")
@state_option
@click.argument("file", type=_FILE)
@click.option("--url", help="Base URL of the cloud, where the file federates with issuers of its own.")
def plant_seed(state: Path, file: Path, url: str | None) -> None:
    """Put into the state what a YAML or JSON file asks for. Nothing is deleted; a second time changes nothing."""
    seed = load_seed(file)
    with Store(state) as store:
        show({"event": "seeded", "file": str(file), "changed": apply_seed(seed, store, url and url.rstrip("/"))})


@command.command()
def schema() -> None:
    """Print the JSON schema of seed files, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


@command.group()
def identity() -> None:
    """Make and list managed identities."""


@identity.command()
@state_option
@_group
@click.option("-n", "--name", required=True, help="Name of the identity.")
@click.option("-l", "--location", default="eastus", show_default=True, help="Region.")
@query_option
def create(state: Path, group: str, name: str, location: str, query: str | None) -> None:
    """Make an identity, and its resource group if need be."""
    with Store(state) as store:
        store.put_resource_group(group, location)
        show(_described(store.put_identity(group, name, location)), query)


@identity.command("list")
@state_option
def list_identities(state: Path) -> None:
    """List the identities with their federated credentials."""
    with Store(state) as store:
        for each in store.identities():
            credentials = [asdict(credential) for credential in store.federated_credentials(each)]
            show({**_described(each), "federatedCredentials": credentials})


@command.command()
@state_option
@_group
@click.option("--identity", "identity_name", required=True, help="Name of the identity.")
@click.option("--issuer", required=True, help="Issuer URL, exactly as in the tokens.")
@click.option("--subject", required=True, help="For a service account: system:serviceaccount:NAMESPACE:NAME.")
@click.option("--audience", default=DEFAULT_AUDIENCE, show_default=True)
@click.option("-n", "--name", default="wisp-federated-id", show_default=True, help="Name of the federated credential.")
def federate(state: Path, group: str, identity_name: str, **wanted: str) -> None:
    """Let an issuer's subject act as an identity."""
    with Store(state) as store:
        credential = store.put_federated_credential(
            store.identity(group, identity_name),
            wanted["name"],
            issuer=wanted["issuer"],
            subject=wanted["subject"],
            audiences=(wanted["audience"],),
        )
    show(asdict(credential))


@command.group()
def issuer() -> None:
    """Make and list the OIDC issuers of clusters."""


@issuer.command("create")
@state_option
@click.option("-n", "--name", required=True, help="Name of the cluster.")
@_url
@query_option
def create_issuer(state: Path, name: str, url: str | None, query: str | None) -> None:
    """Make the issuer of a cluster."""
    with Store(state) as store:
        show(_published(store.issuers.put(name), url), query)


@issuer.command("list")
@state_option
@_url
def list_issuers(state: Path, url: str | None) -> None:
    """List the issuers."""
    with Store(state) as store:
        for each in store.issuers.all():
            show(_published(each, url))


@issuer.command()
@state_option
@click.option("-n", "--name", required=True, help="Name of the cluster.")
@click.option("--retire", is_flag=True, help="Stop publishing the old keys, too.")
def rotate(state: Path, name: str, *, retire: bool) -> None:
    """Give an issuer a new signing key."""
    with Store(state) as store:
        store.issuers.rotate(name)
        show(_published(store.issuers.retire_keys(name) if retire else store.issuers.named(name), None))


@command.command()
@state_option
@click.argument("uri")
def resource(state: Path, uri: str) -> None:
    """Register a resource of your own, such as api://my-api; Azure's are known."""
    with Store(state) as store:
        store.put_resource(uri)
        show({"resources": store.resources()})


@command.command()
@state_option
@click.option("--issuer", "issuer_name", required=True, help="Name of the cluster whose issuer signs.")
@click.option("--url", required=True, help="Base URL of the cloud, as `wisp cloud serve` prints it.")
@click.option("--namespace", default="default", show_default=True)
@click.option("--service-account", default="default", show_default=True)
@click.option("--pod", default="pod", show_default=True)
@click.option("--audience", default=DEFAULT_AUDIENCE, show_default=True)
@click.option("--lifetime", default=3600, show_default=True, type=click.IntRange(MINIMUM_LIFETIME), help="In seconds.")
@click.option("--out", required=True, type=click.Path(path_type=Path, allow_dash=True), help="File; - prints it.")
def token(state: Path, issuer_name: str, url: str, out: Path, **projection: object) -> None:
    """Mint a service account token, as kubelet would project it."""
    wanted = Projection(**projection)  # type: ignore[arg-type]  # click has checked them
    with Store(state) as store:
        signer = store.issuers.named(issuer_name)
        minted = service_account_token(signer, url.rstrip("/") + signer.path, wanted, now=time.time())
    if str(out) == "-":
        click.echo(minted.reveal())
        return
    _write_private(out, minted)
    show({"file": str(out), "subject": wanted.subject, "audience": wanted.audience})


def _write_private(path: Path, secret: Secret) -> None:
    """Write the token for its owner alone, at once for whoever reads it meanwhile (as kubelet replaces it)."""
    try:
        write_atomically(path, secret.reveal())
    except OSError as error:
        raise SettingError(f"cannot write {path} ({error.strerror})", hint="name another file with --out") from error


def _described(managed: ManagedIdentity) -> dict[str, object]:
    return {
        "id": managed.resource_id,
        "name": managed.name,
        "resourceGroup": managed.resource_group,
        "location": managed.location,
        "clientId": managed.client_id,
        "principalId": managed.principal_id,
        "tenantId": managed.tenant_id,
    }


def _published(made: Issuer, url: str | None) -> dict[str, object]:
    location = {} if url is None else {"issuerUrl": url.rstrip("/") + made.path}
    return {"name": made.name, "id": made.id, "path": made.path, **location, "keys": [key.key_id for key in made.keys]}
