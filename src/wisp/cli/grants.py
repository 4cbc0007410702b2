"""`wisp gateway grant`, `revoke` and `list`: who may use which identity through the token gateway.

Data goes to standard output, everything else to standard error. Exit status: 0 if all is as asked for, 1 if the cluster
refuses or nothing was there to revoke, 2 if the command line or the kubeconfig is invalid.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import click

from wisp.azure import is_guid
from wisp.base.errors import WispError
from wisp.cli.cluster import Cluster, ClusterError, Connection, connection_options
from wisp.cli.manifests import as_json, as_yaml
from wisp.cli.options import option_group
from wisp.cli.server import HELP_FLAGS
from wisp.gateway.grants import RBAC_GROUP, Grant, Manifest, is_equivalent
from wisp.gateway.permissions import ANY, Permission, Permissions, find_permissions
from wisp.kubernetes.names import is_namespace, is_service_account

_API = f"/apis/{RBAC_GROUP}/v1"
_ROLES = f"{_API}/clusterroles"
_BINDINGS = f"{_API}/clusterrolebindings"
_PATHS = {"ClusterRole": _ROLES, "ClusterRoleBinding": _BINDINGS}
_FORBIDDEN, _MISSING, _EXISTS = 403, 404, 409
_ATTEMPTS = 20
_PAUSE = 0.1
"""Seconds between attempts to bind a role that the API server has created and does not know yet."""
_ESCALATION = "not currently held"
"""Part of the API server's message to users who may not grant what they do not have."""
_SETTINGS = {"help_option_names": HELP_FLAGS}


def _parse_client_ids(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[str]:
    for value in values:
        if not is_guid(value):
            raise click.BadParameter(f"{value!r} is not a GUID; give the identity's client id.")
    return [value.lower() for value in values]


def _parse_namespaces(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[tuple[str]]:
    for value in values:
        if not is_namespace(value):
            raise click.BadParameter(f"{value!r} is not the name of a namespace.")
    return [(value,) for value in values]


def _parse_accounts(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    accounts = []
    for value in values:
        namespace, _slash, name = value.partition("/")
        if not is_namespace(namespace) or not is_service_account(name):
            raise click.BadParameter(f"{value!r} is not NAMESPACE/NAME.")
        accounts.append((namespace, name))
    return accounts


def _grants(
    client_ids: Iterable[str],
    accounts: Sequence[tuple[str, str]],
    namespaces: Sequence[tuple[str]],
    *,
    everything: bool,
) -> list[Grant]:
    if not (accounts or namespaces or everything):
        raise click.UsageError("Give --service-account, --namespace or --all.", click.get_current_context())
    if everything and (accounts or namespaces):
        raise click.UsageError("--all includes every service account.", click.get_current_context())
    subjects: list[tuple[str, ...]] = [*accounts, *namespaces, *([()] if everything else [])]
    return list(dict.fromkeys(Grant(client_id, *subject) for client_id in client_ids for subject in subjects))


def _grant_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `grant` and `revoke`."""
    options = (
        click.option(
            "--client-id",
            "client_ids",
            callback=_parse_client_ids,
            multiple=True,
            required=True,
            metavar="GUID",
            help="Client id of the identity; may be given several times.",
        ),
        click.option(
            "--service-account",
            "accounts",
            callback=_parse_accounts,
            multiple=True,
            metavar="NAMESPACE/NAME",
            help="Service account; may be given several times.",
        ),
        click.option(
            "--namespace",
            "namespaces",
            callback=_parse_namespaces,
            multiple=True,
            metavar="NAMESPACE",
            help="Namespace, for all of its service accounts; may be given several times.",
        ),
        click.option("--all", "everything", is_flag=True, help="All service accounts of the cluster."),
    )
    dry_run = click.option(
        "--dry-run", is_flag=True, help="Change nothing. With -o yaml or json, no cluster is needed."
    )
    output = _output_option("Print one line for each object, or the objects as manifests.")
    return option_group("grants", _grants, options)(dry_run(output(connection_options(command))))


def _output_option(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    choice = click.Choice(["text", "yaml", "json"])
    return click.option("-o", "--output", type=choice, default="text", show_default=True, help=text)


class _Held(NamedTuple):
    """An object of a grant, and the one of the same name in the cluster."""

    wanted: Manifest
    found: Manifest | None

    @property
    def title(self) -> str:
        """The object's name as kubectl prints it."""
        return f"{self.wanted['kind'].lower()}.{RBAC_GROUP}/{self.wanted['metadata']['name']}"


def _path(manifest: Manifest) -> str:
    return f"{_PATHS[manifest['kind']]}/{manifest['metadata']['name']}"


def _read(cluster: Cluster, wanted: Manifest) -> _Held:
    """Return the object as it is in the cluster. Raise ClusterError if it is another one of the same name."""
    found = cluster.get(_path(wanted))
    if found is not None and not is_equivalent(found, wanted):
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        raise ClusterError(
            f"the {kind} {name} grants something else than its name says: it has been changed",
            hint=f"look at it with `kubectl get {kind.lower()} {name} -o yaml`, and delete it with kubectl",
            status=_EXISTS,
        )
    return _Held(wanted, found)


@click.command(context_settings=_SETTINGS)
@_grant_options
def grant(
    *,
    grants: list[Grant],
    dry_run: bool,
    output: str,
    connection: Connection,
) -> None:
    """Let service accounts use identities through the token gateway.

    Creates a ClusterRole and a ClusterRoleBinding for each identity and service account, namespace or cluster. Objects
    that exist already are left as they are.

    The exit status is 0 if the identities are granted, 1 if the cluster refuses or an object of the same name grants
    something else, and 2 if the options or the kubeconfig are invalid.
    """
    manifests = [manifest for found in grants for manifest in (found.role, found.binding)]
    if not (dry_run and output != "text"):
        cluster = connection()
        for held in [_read(cluster, manifest) for manifest in manifests]:  # all of them, before anything is changed
            created = held.found is None and (dry_run or _create(cluster, held))
            _say(held, "created" if created else "unchanged", output, dry_run=dry_run)
    _print_manifests(manifests, output)


def _create(cluster: Cluster, held: _Held) -> bool:
    """Create the object; return False if another client has just done that."""
    path = _PATHS[held.wanted["kind"]]
    for attempt in range(_ATTEMPTS):
        try:
            cluster.create(path, held.wanted)
        except ClusterError as error:
            if error.status == _EXISTS:
                _read(cluster, held.wanted)
                return False
            if error.status == _FORBIDDEN and _ESCALATION in error.problem:
                hint = "ask for the verbs escalate and bind on clusterroles, or for the use of the identity yourself"
                raise ClusterError(error.problem, hint=hint, status=error.status) from None
            if error.status != _MISSING or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE)
        else:
            break
    return True


@click.command(context_settings=_SETTINGS)
@_grant_options
def revoke(
    *,
    grants: list[Grant],
    dry_run: bool,
    output: str,
    connection: Connection,
) -> None:
    """Remove grants that `wisp gateway grant` or the command in a refusal has made.

    The gateway may give tokens for 10 seconds more, or for what its --grant-seconds says; tokens that were given remain
    valid until they expire. A warning says which other grants still let the service accounts use the identities.

    The exit status is 0 if all grants were removed, 1 if one did not exist or the cluster refuses, and 2 if the options
    or the kubeconfig are invalid.
    """
    if not (dry_run and output != "text"):
        _revoke(connection(), grants, output, dry_run=dry_run)
    _print_manifests([manifest for found in grants for manifest in (found.binding, found.role)], output)


def _revoke(cluster: Cluster, grants: Sequence[Grant], output: str, *, dry_run: bool) -> None:
    found = {revoked: (_read(cluster, revoked.binding), _read(cluster, revoked.role)) for revoked in grants}
    missing = [revoked for revoked, objects in found.items() if not any(held.found for held in objects)]
    users, permissions = _others(cluster, {revoked.name for revoked in grants})
    for revoked, objects in found.items():
        for held in objects:
            if held.wanted["kind"] == "ClusterRole" and revoked.name in users:
                _warn(f"{held.title} is not deleted: ClusterRoleBinding {users[revoked.name]} uses it")
            elif held.found is not None and (dry_run or cluster.delete(_path(held.wanted), held.found)):
                _say(held, "deleted", output, dry_run=dry_run)
    for permission in permissions.granted:
        concerned = [revoked for revoked in grants if permission.concerns(revoked)]
        if concerned:
            what = "every identity" if permission.client_id == ANY else permission.client_id
            subject = f"{permission.kind} {_subject(permission)}"
            _warn(f"ClusterRoleBinding {_printable(permission.binding)} still grants {what} to {subject}")
    if missing:
        names = ", ".join(revoked.name for revoked in missing)
        raise WispError(f"there is no such grant: {names}", hint="`wisp gateway list` shows the grants of the cluster")


def _others(cluster: Cluster, revoked: set[str]) -> tuple[dict[str, str], Permissions]:
    """Return the bindings besides those revoked: the name of one by its role, and what they all grant.

    A grant can be revoked without the right to list others.
    """
    try:
        roles, bindings = cluster.objects(_ROLES), cluster.objects(_BINDINGS)
    except ClusterError as error:
        _warn(f"other grants cannot be listed: {error.problem}")
        return {}, Permissions([], [])
    others = [binding for binding in bindings if binding["metadata"]["name"] not in revoked]
    users = {binding["roleRef"]["name"]: binding["metadata"]["name"] for binding in others}
    return users, find_permissions(roles, others)


@click.command(name="list", context_settings=_SETTINGS)
@click.option(
    "--client-id",
    "client_ids",
    callback=_parse_client_ids,
    multiple=True,
    metavar="GUID",
    help="Show only who may use this identity; may be given several times.",
)
@click.option(
    "--service-account",
    "accounts",
    callback=_parse_accounts,
    multiple=True,
    metavar="NAMESPACE/NAME",
    help="Show only what this service account may use, through groups as well; may be given several times.",
)
@_output_option("Output format.")
@connection_options
def list_command(
    *,
    client_ids: list[str],
    accounts: list[tuple[str, str]],
    output: str,
    connection: Connection,
) -> None:
    """Show which service accounts may use which identities through the token gateway.

    Every ClusterRoleBinding counts, however it was made, including those whose roles allow everything; their client id
    is shown as *. Users and groups to which no service account belongs are shown if their role names the API group.

    The exit status is 0, with or without grants; 1 if the cluster refuses; and 2 if the options or the kubeconfig are
    invalid.
    """
    cluster = connection()
    found = find_permissions(cluster.objects(_ROLES), cluster.objects(_BINDINGS))
    for warning in found.warnings:
        _warn(warning)
    shown = [
        permission
        for permission in found.granted
        if (not client_ids or permission.client_id in (*client_ids, ANY))
        and (not accounts or any(permission.concerns(Grant(permission.client_id, *account)) for account in accounts))
    ]
    if output != "text":
        content = {"grants": [_record(permission) for permission in shown]}
        click.echo(as_json(content) if output == "json" else as_yaml(content), nl=False)
    elif shown:
        click.echo(_table(shown), nl=False)
    else:
        click.echo("There are no grants.", err=True)


def _record(permission: Permission) -> dict[str, object]:
    subject = {"kind": permission.kind, "name": permission.name}
    if permission.kind == "ServiceAccount":
        subject["namespace"] = permission.namespace
    return {
        "clientId": permission.client_id,
        "subject": subject,
        "clusterRoleBinding": permission.binding,
        "clusterRole": permission.role,
        "managed": permission.managed,
    }


def _table(permissions: Iterable[Permission]) -> str:
    rows = [
        ("CLIENT ID", "KIND", "SUBJECT", "CLUSTERROLEBINDING"),
        *((found.client_id, found.kind, _subject(found), _printable(found.binding)) for found in permissions),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _subject(permission: Permission) -> str:
    is_account = permission.kind == "ServiceAccount"
    return _printable(f"{permission.namespace}/{permission.name}" if is_account else permission.name)


def _printable(text: str) -> str:
    """Return a name that others have chosen, without what would control a terminal."""
    return text if text.isprintable() else ascii(text)


def _say(held: _Held, outcome: str, output: str, *, dry_run: bool) -> None:
    suffix = " (dry run)" if dry_run else ""
    click.echo(f"{held.title} {outcome}{suffix}", err=output != "text")


def _warn(text: str) -> None:
    click.echo(f"warning: {_printable(text)}", err=True)


def _print_manifests(manifests: Sequence[Manifest], output: str) -> None:
    if output == "yaml":
        click.echo("---\n".join(map(as_yaml, manifests)), nl=False)
    elif output == "json":
        click.echo(as_json({"apiVersion": "v1", "kind": "List", "items": list(manifests)}), nl=False)
