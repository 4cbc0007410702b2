"""A managed identity of the local cloud: what it is called by, and what can be wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path

from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.issuer import Projection
from wisp_local.cloud.state.store import Store

LOCATION = "eastus"
CREDENTIAL = "wisp-testing"


@dataclass(frozen=True)
class Identity:
    """A user-assigned managed identity that trusts the service account `account` of the issuer at `issuer_url`.

    Its faults are Entra's to report, for the next token that nobody has asked for before: what was issued stays valid.
    """

    name: str
    group: str
    tenant_id: str
    client_id: str
    object_id: str
    resource_id: str
    issuer_url: str
    account: Projection
    state: Path = field(repr=False)

    def misspell_subject(self) -> None:
        """Let the federated credential name another subject, by one letter: AADSTS700213."""
        self._federate(self.issuer_url, f"{self.account.subject}x")

    def misspell_issuer(self) -> None:
        """Let the federated credential's issuer lack the slash at its end: AADSTS700211."""
        self._federate(self.issuer_url.rstrip("/"), self.account.subject)

    def forget_credential(self) -> None:
        """Delete the federated credential, the only one unless more were added: AADSTS70025."""
        with Store(self.state) as store:
            store.delete_federated_credential(self._found(store), CREDENTIAL)

    def delete(self) -> None:
        """Delete the identity, its other federated credentials, too: AADSTS700016."""
        with Store(self.state) as store:
            store.delete_identity(self._found(store))

    def mend(self) -> None:
        """Put right whatever is wrong: the identity is there, by its ids, and trusts its service account."""
        self._federate(self.issuer_url, self.account.subject)

    def _federate(self, issuer: str, subject: str) -> None:
        with Store(self.state) as store:
            store.put_federated_credential(self._found(store), CREDENTIAL, issuer=issuer, subject=subject)

    def _found(self, store: Store) -> ManagedIdentity:
        store.put_resource_group(self.group, LOCATION)
        return store.put_identity(self.group, self.name, LOCATION, ids=(self.client_id, self.object_id))
