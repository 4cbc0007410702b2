"""`wisp inject`: what the webhook would do, to manifests and without a cluster."""

from dataclasses import replace
from typing import Any, NamedTuple

import click

from wisp.admission.advice import advice_unlabelled
from wisp.admission.contract import Policy, parse_version
from wisp.admission.patch import applied
from wisp.admission.review import AccountRef
from wisp.admission.shape import Object, PodError
from wisp.admission.workloads import Carrier, carriers, injected
from wisp.cli.accounts import Accounts, accounts_in, accounts_of
from wisp.cli.manifests import Document, ManifestError, as_json, as_yaml, documents, read_text
from wisp.cli.policy import policy_options


class _Given(NamedTuple):
    """What injection depends on besides a document."""

    accounts: Accounts
    namespace: str
    policy: Policy
    every: bool


@click.command(name="inject")
@click.option("-f", "--filename", "path", required=True, metavar="FILE", help="Manifests; - for standard input.")
@click.option(
    "--service-account",
    "account_paths",
    multiple=True,
    metavar="FILE",
    help="Manifests with service accounts, besides those among the manifests; may be given several times.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Of objects that name none.")
@click.option("--all", "every", is_flag=True, help="Inject into pods without the label, too.")
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option(
    "--server-version", metavar="VERSION", help="The API server's, as 1.34: from 1.32 on sidecars are native."
)
@policy_options
def command(
    path: str,
    account_paths: tuple[str, ...],
    namespace: str,
    form: str,
    server_version: str | None,
    *,
    every: bool,
    policy: Policy,
) -> None:
    """Put identities into manifests, as the webhook would into their pods.

    Pods and templates of pods are found wherever they are; those without the label azure.workload.identity/use
    are passed on as they are, as is everything else. Nothing is printed unless all of it can be done.
    """
    if server_version is not None:
        policy = replace(policy, server_version=parse_version(server_version))
    found = list(documents(read_text(path), "standard input" if path == "-" else path))
    accounts = {**accounts_in(found, namespace), **accounts_of(account_paths, namespace)}
    given = _Given(accounts, namespace, policy, every)
    done = [(each, _injected(each, given)) for each in found]
    if form == "json":
        click.echo("".join(as_json(content) for _, content in done), nl=False)
    else:
        texts = (each.text if content is each.content else as_yaml(content) for each, content in done)
        click.echo("---\n".join(texts), nl=False)


def _injected(document: Document, given: _Given) -> Any:
    """Return the document's content with its pods injected: the same object where there is nothing to do."""
    content = document.content
    for carrier in carriers(document.content):
        title = f"{carrier.title} (document {document.place})"
        if not (given.every or carrier.is_labelled):
            _warn(title, advice_unlabelled(_known(carrier, given) or {}))
            continue
        try:
            done = injected(carrier, _account(carrier, title, given), given.policy)
        except PodError as error:
            raise ManifestError(f"{title}: {error.problem}", remedy=error.remedy) from None
        _warn(title, done.warnings)
        if done.operations:
            content = applied(content, done.operations)
    return content


def _known(carrier: Carrier, given: _Given) -> Object | None:
    return given.accounts.get(AccountRef(carrier.namespace or given.namespace, carrier.account))


def _account(carrier: Carrier, title: str, given: _Given) -> Object:
    found = _known(carrier, given)
    if found is None and carrier.account != "default":
        namespace = carrier.namespace or given.namespace
        raise ManifestError(
            f'{title}: its service account "{carrier.account}" of the namespace "{namespace}" is not known',
            remedy="have it among the manifests, or name a file that it is in by --service-account",
        )
    return found or {}  # every namespace has a default, as a rule with nothing to say


def _warn(title: str, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"wisp: warning: {title}: {warning}", err=True)
