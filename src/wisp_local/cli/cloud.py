"""`wisp cloud`: run a local Azure, and change its state while it runs. All commands share the state file."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from wisp.base.errors import SettingError
from wisp.base.files import write_atomically
from wisp.base.isolation import forbid_core_dumps
from wisp.base.secret import Secret
from wisp.cli.options import FiniteRange
from wisp_local.cloud.arm.handler import OPERATION_SECONDS, WRITE_SECONDS
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.entra.audiences import AzureCloud
from wisp_local.cloud.entra.claims import DEFAULT_LIFETIME
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, Application, ManagedIdentity
from wisp_local.cloud.issuer import MINIMUM_LIFETIME, Issuer, Projection, service_account_token
from wisp_local.cloud.kubeconfig import read_kubeconfig
from wisp_local.cloud.roles import BUILT_IN
from wisp_local.cloud.seed import apply_seed, json_schema, load_seed
from wisp_local.cloud.serving import Settings
from wisp_local.cloud.serving import serve as serve_cloud
from wisp_local.cloud.state.store import Store

FILE = click.Path(path_type=Path)
state_option = click.option("--state", type=FILE, required=True, help="SQLite file that holds the state of the cloud.")
query_option = click.option("--query", metavar="FIELD", help="Print only this field, like `az --query FIELD -o tsv`.")
audience_option = click.option(
    "--audience", default=DEFAULT_AUDIENCE, show_default=True, help="Audience (aud) of the assertion."
)


def read_text(path: Path) -> str:
    """Read a file that the user named; raises `SettingError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"cannot read {path} ({reason})", hint="name another file") from error


def show(document: Mapping[str, object], query: str | None = None) -> None:
    """Print `document` as one line of JSON, or only its field `query`."""
    if query is None:
        click.echo(json.dumps(document))
    elif query in document:
        click.echo(document[query])
    else:
        raise click.BadParameter(f"there is no field {query}; use one of {', '.join(document)}", param_hint="--query")


_group = click.option("-g", "--resource-group", "group", required=True, help="Name of the resource group.")
_url = click.option(
    "--url", help="Base URL of the cloud, to print the issuer's URL with. By default only the path is printed."
)


@click.group()
def command() -> None:
    """Run a local Azure: Entra's token endpoint, Resource Manager and OIDC issuers."""
    forbid_core_dumps()


@command.command()
@state_option
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=["127.0.0.1"],
    show_default=True,
    metavar="HOST",
    help="Address to listen on. Repeatable.",
)
@click.option(
    "--port", default=8443, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0: a free one."
)
@click.option("--advertise", multiple=True, metavar="HOST", help="Name or address that clients use. Repeatable.")
@click.option(
    "--token-lifetime",
    default=DEFAULT_LIFETIME,
    show_default=True,
    type=click.IntRange(1),
    help="Lifetime of access tokens in seconds; tokens of applications last at most an hour.",
)
@click.option("--issuer-ca", type=FILE, help="PEM file with CAs to trust when the keys of other issuers are fetched.")
@click.option("--seed", type=FILE, help="YAML or JSON file with the resources to create; see `wisp cloud seed`.")
@click.option(
    "--issuer-base",
    "issuer_bases",
    multiple=True,
    metavar="URL",
    help="Additional base URL that the URLs of this cloud's issuers may begin with. Repeatable.",
)
@click.option(
    "--page/--no-page", default=None, help="Serve the web page at /. By default only to connections on loopback."
)
@click.option(
    "--operation-seconds",
    default=OPERATION_SECONDS,
    show_default=True,
    type=FiniteRange(0),
    help="Seconds that creating, updating or deleting a cluster takes.",
)
@click.option(
    "--write-seconds",
    default=WRITE_SECONDS,
    show_default=True,
    type=FiniteRange(0, 10),
    help="Seconds that writing a federated credential takes; another write to the same identity meanwhile gets a 409.",
)
@click.option(
    "--propagation",
    default=0.0,
    show_default=True,
    type=FiniteRange(0),
    help="Seconds until a new federated credential works; until then the answer is AADSTS70021, and AADSTS70025 for "
    "the first credential of an identity.",
)
@click.option(
    "--azure-cloud",
    default=AzureCloud.PUBLIC.value,
    show_default=True,
    type=click.Choice([cloud.value for cloud in AzureCloud]),
    callback=lambda _context, _option, value: AzureCloud(value),
    help="Azure cloud whose services tokens can be requested for.",
)
@click.option("--quiet", is_flag=True, help="Do not log requests.")
def serve(**options: object) -> None:
    """Serve until SIGTERM or Ctrl-C. Prints a JSON line when it listens, and logs one for each request."""
    serve_cloud(Settings(**options))  # type: ignore[arg-type]  # click has checked them


@command.command()
@state_option
def ca(state: Path) -> None:
    """Print the CA certificate (PEM) that clients must trust."""
    with Store(state) as store:
        click.echo(store.authority.certificate_pem.decode(), nl=False)


@command.command("seed")
@state_option
@click.argument("file", type=FILE)
@click.option("--url", help="Base URL of the cloud; needed when the file federates with issuers of this cloud.")
def apply_seed_file(state: Path, file: Path, url: str | None) -> None:
    """Create the resources of a YAML or JSON file. Deletes nothing; applying it again changes nothing."""
    seed = load_seed(file)
    with Store(state) as store:
        show({"event": "seeded", "file": str(file), "changed": apply_seed(seed, store, url and url.rstrip("/"))})


@command.command()
def schema() -> None:
    """Print the JSON schema of seed files, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


@command.group()
def identity() -> None:
    """Create and list managed identities."""


@identity.command()
@state_option
@_group
@click.option("-n", "--name", required=True, help="Name of the identity.")
@click.option("-l", "--location", default="eastus", show_default=True, help="Region.")
@query_option
def create(state: Path, group: str, name: str, location: str, query: str | None) -> None:
    """Create an identity, and its resource group if it does not exist."""
    with Store(state) as store:
        store.put_resource_group(group, location)
        show(_identity_document(store.put_identity(group, name, location)), query)


@identity.command("list")
@state_option
def list_identities(state: Path) -> None:
    """List the identities with their federated credentials."""
    with Store(state) as store:
        for managed in store.identities():
            credentials = [asdict(credential) for credential in store.federated_credentials(managed)]
            show({**_identity_document(managed), "federatedCredentials": credentials})


@command.command()
@state_option
@_group
@click.option("--identity", "identity_name", required=True, help="Name of the identity.")
@click.option("--issuer", required=True, help="Issuer URL, exactly as in the tokens.")
@click.option(
    "--subject",
    required=True,
    help="Subject (sub) of the tokens; for a service account system:serviceaccount:NAMESPACE:NAME.",
)
@audience_option
@click.option("-n", "--name", default="wisp-federated-id", show_default=True, help="Name of the federated credential.")
def federate(
    state: Path, group: str, identity_name: str, name: str, *, issuer: str, subject: str, audience: str
) -> None:
    """Let the subject of an issuer act as an identity."""
    with Store(state) as store:
        credential = store.put_federated_credential(
            store.identity(group, identity_name), name, issuer=issuer, subject=subject, audiences=(audience,)
        )
    show(asdict(credential))


@command.group("issuer")
def issuer_group() -> None:
    """Create and list the OIDC issuers of clusters."""


@issuer_group.command("create")
@state_option
@click.option("-n", "--name", required=True, help="Name of the cluster.")
@_url
@query_option
def create_issuer(state: Path, name: str, url: str | None, query: str | None) -> None:
    """Create the issuer of a cluster."""
    with Store(state) as store:
        show(_issuer_document(store.issuers.put(name), url), query)


@issuer_group.command("list")
@state_option
@_url
def list_issuers(state: Path, url: str | None) -> None:
    """List the issuers."""
    with Store(state) as store:
        for issuer in store.issuers.all():
            show(_issuer_document(issuer, url))


@issuer_group.command()
@state_option
@click.option("-n", "--name", required=True, help="Name of the cluster.")
@click.option("--retire", is_flag=True, help="Stop publishing the old keys as well.")
def rotate(state: Path, name: str, *, retire: bool) -> None:
    """Give an issuer a new signing key."""
    with Store(state) as store:
        store.issuers.rotate(name)
        show(_issuer_document(store.issuers.retire_keys(name) if retire else store.issuers.named(name), None))


@command.command()
@state_option
@click.argument("uri")
def resource(state: Path, uri: str) -> None:
    """Register URI, such as api://my-api, as a resource that tokens can be requested for, like Azure's services."""
    with Store(state) as store:
        store.put_resource(uri)
        show({"resources": store.resources()})


@command.command()
@state_option
@click.option("--issuer", "issuer_name", required=True, help="Name of the cluster whose issuer signs.")
@click.option("--url", required=True, help="Base URL of the cloud, as `wisp cloud serve` prints it.")
@click.option("--namespace", default="default", show_default=True, help="Namespace of the service account.")
@click.option("--service-account", default="default", show_default=True, help="Name of the service account.")
@click.option("--pod", default="pod", show_default=True, help="Name of the pod that the token is bound to.")
@audience_option
@click.option(
    "--lifetime",
    default=3600,
    show_default=True,
    type=click.IntRange(MINIMUM_LIFETIME),
    help="Lifetime of the token, in seconds.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="File to write the token to, readable by its owner only; - prints it.",
)
def token(state: Path, issuer_name: str, url: str, out: Path, **projection: object) -> None:
    """Issue a service account token, as kubelet would project it."""
    requested = Projection(**projection)  # type: ignore[arg-type]  # click has checked them
    with Store(state) as store:
        signer = store.issuers.named(issuer_name)
        issued = service_account_token(signer, url.rstrip("/") + signer.path, requested, now=time.time())
    if str(out) == "-":
        click.echo(issued.reveal())
        return
    try:
        write_atomically(out, issued.reveal())  # for its owner only, as kubelet does
    except OSError as error:
        raise SettingError(f"cannot write {out} ({error.strerror})", hint="name another file with --out") from error
    show({"file": str(out), "subject": requested.subject, "audience": requested.audience})


def _identity_document(managed: ManagedIdentity) -> dict[str, object]:
    return {
        "id": managed.resource_id,
        "name": managed.name,
        "resourceGroup": managed.resource_group,
        "location": managed.location,
        "clientId": managed.client_id,
        "principalId": managed.principal_id,
        "tenantId": managed.tenant_id,
    }


def _issuer_document(issuer: Issuer, url: str | None) -> dict[str, object]:
    location = {} if url is None else {"issuerUrl": url.rstrip("/") + issuer.path}
    keys = [key.key_id for key in issuer.keys]
    return {"name": issuer.name, "id": issuer.id, "path": issuer.path, **location, "keys": keys}


@click.group()
def principal() -> None:
    """Manage applications, whose service principals log in with a secret or an assertion."""


@principal.command("add")
@state_option
@click.option("-n", "--name", required=True, help="Display name of the application.")
@click.option("--client-id", help="Client id of the application, a GUID. By default a random one.")
@click.option(
    "--secret-file",
    type=FILE,
    help="File with the secret that the application logs in with. By default one is generated and shown once.",
)
@click.option("--no-secret", is_flag=True, help="Add no secret: the application logs in with an assertion.")
@click.option(
    "--role",
    type=click.Choice([role.name for role in BUILT_IN], case_sensitive=False),
    metavar="ROLE",
    help="Built-in Azure role, such as Owner, to assign for the whole subscription. By default none is assigned.",
)
@query_option
def add_principal(
    state: Path,
    name: str,
    client_id: str | None,
    secret_file: Path | None,
    role: str | None,
    *,
    query: str | None,
    no_secret: bool,
) -> None:
    """Register an application and give it one more secret."""
    given = None if secret_file is None else Secret(read_text(secret_file).strip())
    with Store(state) as store:
        application = store.principals.put(name, client_id)
        for built_in in BUILT_IN:
            if built_in.name == role:
                store.assignments.give(application.principal_id, built_in, store.subscription().id)
        document: dict[str, object] = _document(application)
        if not no_secret:
            secret = store.principals.add_secret(application, given)
            document |= {} if given else {"password": secret.reveal()}
    show(document, query)


@principal.command("federate")
@state_option
@click.option("-n", "--name", required=True, help="Display name of the application.")
@click.option("--issuer", required=True, help="Issuer URL, exactly as in the tokens.")
@click.option("--subject", required=True, help="Subject (sub) of the tokens that the application accepts.")
@audience_option
@click.option("--credential", default="wisp-federated-id", show_default=True, help="Name of the federated credential.")
def federate_principal(state: Path, name: str, credential: str, *, issuer: str, subject: str, audience: str) -> None:
    """Let the subject of an issuer log in as an application."""
    with Store(state) as store:
        application = store.principals.named(name)
        stored = store.put_federated_credential(
            application, credential, issuer=issuer, subject=subject, audiences=(audience,)
        )
    show(asdict(stored))


@principal.command("list")
@state_option
def list_principals(state: Path) -> None:
    """List the applications with their federated credentials; secrets are never shown again."""
    with Store(state) as store:
        for application in store.principals.all():
            credentials = [asdict(credential) for credential in store.federated_credentials(application)]
            show({**_document(application), "federatedCredentials": credentials})


@principal.command("delete")
@state_option
@click.option("-n", "--name", required=True, help="Display name of the application.")
def delete_principal(state: Path, name: str) -> None:
    """Delete an application and its secrets."""
    with Store(state) as store:
        store.principals.delete(store.principals.named(name))


def _document(application: Application) -> dict[str, object]:
    return {
        "displayName": application.display_name,
        "appId": application.client_id,
        "objectId": application.principal_id,
        "tenant": application.tenant_id,
    }


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


command.add_command(principal)
command.add_command(cluster)
