"""Service accounts out of manifests, by namespace and name."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from wisp.admission.review import AccountRef
from wisp.admission.shape import Object
from wisp.admission.workloads import accounts
from wisp.cli.manifests import Document, documents, read_text

Accounts: TypeAlias = Mapping[AccountRef, Object]


def accounts_in(found: Iterable[Document], namespace: str) -> Accounts:
    """Return the service accounts of these documents; one that names no namespace is of `namespace`."""
    owned = (each for document in found for each in accounts(document.content))
    return {AccountRef(owner.namespace or namespace, owner.name): account for owner, account in owned}


def accounts_of(paths: Iterable[str], namespace: str) -> Accounts:
    """Return the service accounts that these files hold. Raise SettingError or ManifestError naming the file."""
    return accounts_in((each for path in paths for each in documents(read_text(path), path)), namespace)
