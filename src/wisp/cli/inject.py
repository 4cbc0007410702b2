"""`wisp inject`: what the webhook would do, to manifests and without a cluster."""

from dataclasses import replace
from typing import Any, NamedTuple

import click

from wisp.admission.advice import advice_unlabelled, advice_unused
from wisp.admission.contract import Policy, parse_version
from wisp.admission.keys import check_types
from wisp.admission.misplaced import findings
from wisp.admission.mutate import Mutation
from wisp.admission.patch import applied
from wisp.admission.review import AccountRef
from wisp.admission.shape import Object, PodError
from wisp.admission.workloads import Carrier, Owner, accounts, carriers, injected
from wisp.cli.accounts import Accounts, accounts_in, accounts_of
from wisp.cli.manifests import Document, ManifestError, as_json, as_yaml, documents, read_text
from wisp.cli.policy import policy_options


class _Given(NamedTuple):
    """What injection depends on besides a document."""

    accounts: Accounts
    namespace: str
    policy: Policy
    every: bool
    used: set[AccountRef]
    """The service accounts that pods run as which have been injected."""


@click.command(name="inject")
@click.option("-f", "--filename", "path", required=True, metavar="FILE", help="Manifests; - for standard input.")
@click.option(
    "--service-account",
    "account_paths",
    multiple=True,
    metavar="FILE",
    help="Manifests with service accounts, besides those among the manifests; may be given several times.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of objects that name none.")
@click.option("--all", "every", is_flag=True, help="Inject into pods without the label, too.")
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option(
    "--server-version",
    metavar="VERSION",
    help="Version of the API server, such as 1.34: from 1.32 on, sidecars are native.",
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

    Pods and templates of pods are found in objects of every kind, custom resources included. Those without the
    label azure.workload.identity/use are printed as they are, and so is everything else. Nothing is printed if a pod
    or template that has the label cannot be injected.
    """
    if server_version is not None:
        policy = replace(policy, server_version=parse_version(server_version))
    found = list(documents(read_text(path), "standard input" if path == "-" else path))
    known = {**accounts_in(found, namespace), **accounts_of(account_paths, namespace)}
    given = _Given(known, namespace, policy, every, set())
    done = [(each, _injected(each, given)) for each in found]
    _warn_of_unused(found, given)
    if form == "json":
        click.echo("".join(as_json(content) for _, content in done), nl=False)
    else:
        texts = (each.text if content is each.content else as_yaml(content) for each, content in done)
        click.echo("---\n".join(texts), nl=False)


def _injected(document: Document, given: _Given) -> Any:
    """Return the document's content with its pods injected: the same object where there is nothing to do."""
    content = document.content
    for each in findings(content, every=given.every):
        title = _title(each.owner, each.path, document)
        if each.is_error:
            raise ManifestError(f"{title}: {each.problem}", hint=each.hint)
        _warn(title, (f"{each.problem}: {each.hint}",))
    for carrier in carriers(document.content):
        title = _title(carrier.owner, carrier.path, document)
        try:
            done = _done(carrier, title, given)
        except PodError as error:
            raise ManifestError(f"{title}: {error.problem}", hint=error.hint) from None
        _warn(title, done.warnings)
        if done.operations:
            content = applied(content, done.operations)
    return content


def _done(carrier: Carrier, title: str, given: _Given) -> Mutation:
    """Decide what is done to a pod or template. Raise PodError, or ManifestError if its account is not known."""
    check_types(carrier.pod.get("metadata"), f"{carrier.path}/metadata")
    if given.every or carrier.is_labelled:
        return injected(carrier, _account(carrier, title, given), given.policy)
    return Mutation(
        (), advice_unlabelled(carrier.pod.get("metadata"), given.accounts.get(_runs_as(carrier, given)) or {})
    )


def _title(owner: Owner, path: str, document: Document) -> str:
    """Return what a message is about: an object, its document and the path in the document, if it is not all of it."""
    title = f"{owner.title} (document {document.place}{path and f', {path}'})"
    return title if title.isprintable() else ascii(title)  # names and keys are their author's


def _runs_as(carrier: Carrier, given: _Given) -> AccountRef:
    return AccountRef(carrier.owner.namespace or given.namespace, carrier.account)


def _account(carrier: Carrier, title: str, given: _Given) -> Object:
    ref = _runs_as(carrier, given)
    found = given.accounts.get(ref)
    if found is None and ref.name != "default":
        raise ManifestError(
            f'{title}: its service account "{ref.name}" of the namespace "{ref.namespace}" is not known',
            hint="have it among the manifests, or name a file that it is in by --service-account",
        )
    given.used.add(ref)
    return found or {}  # every namespace has a default, as a rule with nothing to say


def _warn_of_unused(found: list[Document], given: _Given) -> None:
    """Warn of service accounts that no injected pod runs as; those of the others are warned of with their pods."""
    for document in found:
        for owner, account in accounts(document.content):
            if AccountRef(owner.namespace or given.namespace, owner.name) not in given.used:
                _warn(_title(owner, owner.path, document), advice_unused(account))


def _warn(title: str, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"warning: {title}: {warning}", err=True)
