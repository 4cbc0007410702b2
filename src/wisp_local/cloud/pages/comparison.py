"""Put what was presented beside the nearest federated credential, field by field; knows no times and no keys."""

from dataclasses import dataclass

from wisp_local.cloud.entra.directory import FederatedCredential
from wisp_local.cloud.pages.difference import Difference, compare
from wisp_local.cloud.pages.explanation import Field, explain
from wisp_local.cloud.pages.nearest import Presented


@dataclass(frozen=True)
class Compared:
    """One field: where it differs, and how in words (empty when it matches)."""

    field: Field
    difference: Difference
    explanation: str

    @property
    def matches(self) -> bool:
        """Whether Entra would take this field."""
        return not self.explanation


def compare_with(presented: Presented, credential: FederatedCredential) -> tuple[Compared, ...]:
    """Compare issuer, subject and audience, in Entra's order."""
    pairs = (
        (Field.ISSUER, presented.issuer, credential.issuer),
        (Field.SUBJECT, presented.subject, credential.subject),
        (Field.AUDIENCE, presented.audience, _audience(presented, credential)),
    )
    return tuple(Compared(field, compare(here, there), explain(field, here, there)) for field, here, there in pairs)


def _audience(presented: Presented, credential: FederatedCredential) -> str:
    return presented.audience if presented.audience in credential.audiences else "".join(credential.audiences[:1])
