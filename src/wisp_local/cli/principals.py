"""`wisp cloud principal`: the applications of a local cloud, with which `az login --service-principal` logs in."""

from dataclasses import asdict
from pathlib import Path

import click

from wisp.base.secret import Secret
from wisp_local.cli.options import FILE, audience_option, query_option, read_text, show, state_option
from wisp_local.cloud.entra.directory import Application
from wisp_local.cloud.roles import BUILT_IN
from wisp_local.cloud.state.store import Store


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
