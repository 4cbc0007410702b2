"""`wisp inject`: makes the webhook's changes to manifests, without a cluster."""

from dataclasses import replace
from typing import NamedTuple

import click

from wisp.admission.annotations import check_types
from wisp.admission.mutate import Mutation
from wisp.admission.patch import Operation, apply
from wisp.admission.policy import Policy, parse_version
from wisp.admission.review import AccountRef
from wisp.admission.types import Object, PodError
from wisp.admission.warnings import warnings_about_unlabelled, warnings_about_unused
from wisp.admission.workloads import Owner, Template, find_accounts, find_misplaced, find_templates, plan_template
from wisp.cli.manifests import (
    Accounts,
    Document,
    ManifestError,
    accounts_in,
    as_json,
    as_yaml,
    changed_yaml,
    read_accounts,
    read_documents,
    read_text,
)
from wisp.cli.policy import policy_options


class _Injector(NamedTuple):
    """Everything that injection depends on besides a document."""

    accounts: Accounts
    namespace: str
    policy: Policy
    inject_all: bool
    used: set[AccountRef]
    """The service accounts of the injected pods."""

    def plan(self, document: Document) -> list[Operation]:
        """Return the operations that inject the document's pods, and print warnings. Raise ManifestError."""
        for finding in find_misplaced(document.content, inject_all=self.inject_all):
            title = _title(finding.owner, finding.path, document)
            if finding.is_error:
                raise ManifestError(f"{title}: {finding.problem}", hint=finding.hint)
            _warn(title, (f"{finding.problem}: {finding.hint}",))
        operations: list[Operation] = []
        for template in find_templates(document.content):
            title = _title(template.owner, template.path, document)
            try:
                mutation = self._plan_template(template, title)
            except PodError as error:
                raise ManifestError(f"{title}: {error.problem}", hint=error.hint) from None
            _warn(title, mutation.warnings)
            operations += mutation.operations
        return operations

    def _plan_template(self, template: Template, title: str) -> Mutation:
        metadata = template.pod.get("metadata")
        check_types(metadata, f"{template.path}/metadata")
        ref = AccountRef(template.owner.namespace or self.namespace, template.account)
        account = self.accounts.get(ref)
        if not self.inject_all and not template.is_labelled:
            return Mutation((), warnings_about_unlabelled(metadata, account or {}))
        if account is None and ref.name != "default":
            raise ManifestError(
                f'{title}: its service account "{ref.name}" in the namespace "{ref.namespace}" is unknown',
                hint="add it to the manifests, or name a file that contains it with --service-account",
            )
        self.used.add(ref)
        # Every namespace has an account called default, usually without annotations.
        return plan_template(template, account or {}, self.policy)

    def warn_of_unused(self, documents: list[Document]) -> None:
        """Warn of mistakes in service accounts of no injected pod; those of the others are reported with the pods."""
        for document in documents:
            for owner, account in find_accounts(document.content):
                if AccountRef(owner.namespace or self.namespace, owner.name) not in self.used:
                    _warn(_title(owner, owner.path, document), warnings_about_unused(account))


def _title(owner: Owner, path: str, document: Document) -> str:
    """Return the subject of a message: an object, its document, and the path in the document, if any."""
    title = f"{owner.title} (document {document.number}{path and f', {path}'})"
    return title if title.isprintable() else ascii(title)


def _warn(title: str, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"warning: {title}: {warning}", err=True)


def _changed(document: Document, operations: list[Operation], output: str) -> str:
    content: Object = apply(document.content, operations) if operations else document.content
    if output == "json":
        return as_json(content)
    if not operations:
        return document.text
    text = None if document.is_json else changed_yaml(document, content, operations)
    if text is None and not document.is_json and "#" in document.text:
        problem = "is printed without its comments, because its layout cannot be kept"
        click.echo(f"note: document {document.number} {problem}", err=True)
    return as_yaml(content) if text is None else text


@click.command(name="inject")
@click.option("-f", "--filename", "path", required=True, metavar="FILE", help="Manifests; - for standard input.")
@click.option(
    "--service-account",
    "account_paths",
    multiple=True,
    metavar="FILE",
    help="Manifests with service accounts that are not among the manifests; may be given several times.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of objects that name none.")
@click.option("--all", "inject_all", is_flag=True, help="Inject into pods without the label as well.")
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="Output format."
)
@click.option(
    "--server-version",
    metavar="VERSION",
    help="Version of the API server, such as 1.34. From 1.32 on, sidecars are native.",
)
@policy_options
def command(
    path: str,
    account_paths: tuple[str, ...],
    namespace: str,
    output: str,
    server_version: str | None,
    *,
    inject_all: bool,
    policy: Policy,
) -> None:
    """Inject identities into manifests, as the webhook injects them into pods.

    Pods and templates of pods are found in objects of every kind, including custom resources. Documents without the
    label azure.workload.identity/use are printed unchanged. The others keep their comments and layout. Nothing is
    printed if a pod or template that has the label cannot be injected.
    """
    if server_version is not None:
        policy = replace(policy, server_version=parse_version(server_version))
    documents = list(read_documents(read_text(path), "standard input" if path == "-" else path))
    accounts = {**accounts_in(documents, namespace), **read_accounts(account_paths, namespace)}
    injector = _Injector(accounts, namespace, policy, inject_all, set())
    planned = [(document, injector.plan(document)) for document in documents]
    injector.warn_of_unused(documents)
    texts = [_changed(document, operations, output) for document, operations in planned]
    click.echo(("" if output == "json" else "---\n").join(texts), nl=False)
