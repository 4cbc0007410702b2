"""`wisp cloud principal`: the applications of a local cloud, which log in as `az login --service-principal` does."""

from dataclasses import asdict
from pathlib import Path

import click

from wisp.base.secret import Secret
from wisp_local.cli.shown import FILE, query_option, read_text, show, state_option
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, Application
from wisp_local.cloud.roles import BUILT_IN
from wisp_local.cloud.state.store import Store


@click.group()
def principal() -> None:
    """Make and list applications, whose service principals log in with a secret or an assertion."""


@principal.command("add")
@state_option
@click.option("-n", "--name", required=True, help="Display name of the application.")
@click.option("--client-id", help="GUID to be known by; one is made up without.")
@click.option("--secret-file", type=FILE, help="File with the secret to accept; without, one is made and shown once.")
@click.option("--no-secret", is_flag=True, help="No secret: it is to log in with an assertion.")
@click.option(
    "--role",
    type=click.Choice([each.name for each in BUILT_IN], case_sensitive=False),
    metavar="ROLE",
    help="Built-in role of Azure's to assign for the whole subscription, such as Owner. None by default.",
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
    brought = None if secret_file is None else Secret(read_text(secret_file).strip())
    with Store(state) as store:
        made = store.principals.put(name, client_id)
        for each in BUILT_IN:
            if each.name == role:
                store.assignments.give(made.principal_id, each, store.subscription().id)
        shown: dict[str, object] = _registered(made)
        if not no_secret:
            secret = store.principals.add_secret(made, brought)
            shown |= {} if brought else {"password": secret.reveal()}
    show(shown, query)


@principal.command("federate")
@state_option
@click.option("-n", "--name", required=True, help="Display name of the application.")
@click.option("--issuer", required=True, help="Issuer URL, exactly as in the tokens.")
@click.option("--subject", required=True, help="Whose tokens it accepts.")
@click.option("--audience", default=DEFAULT_AUDIENCE, show_default=True)
@click.option("--credential", default="wisp-federated-id", show_default=True, help="Name of the federated credential.")
def federate_principal(state: Path, name: str, credential: str, **wanted: str) -> None:
    """Let an issuer's subject log in as an application."""
    with Store(state) as store:
        made = store.put_federated_credential(
            store.principals.named(name),
            credential,
            issuer=wanted["issuer"],
            subject=wanted["subject"],
            audiences=(wanted["audience"],),
        )
    show(asdict(made))


@principal.command("list")
@state_option
def list_principals(state: Path) -> None:
    """List the applications with their federated credentials; secrets are never shown again."""
    with Store(state) as store:
        for each in store.principals.all():
            credentials = [asdict(credential) for credential in store.federated_credentials(each)]
            show({**_registered(each), "federatedCredentials": credentials})


@principal.command("delete")
@state_option
@click.option("-n", "--name", required=True, help="Display name of the application.")
def delete_principal(state: Path, name: str) -> None:
    """Delete an application with its secrets."""
    with Store(state) as store:
        store.principals.delete(store.principals.named(name))


def _registered(application: Application) -> dict[str, object]:
    return {
        "displayName": application.display_name,
        "appId": application.client_id,
        "objectId": application.principal_id,
        "tenant": application.tenant_id,
    }
