"""Decide which federated credential an assertion was meant for; knows no times and no signatures.

First come the credentials that Entra itself got furthest with (issuer, then subject, then audience), so that the answer
is about the same credentials as the AADSTS code; among those, the one that fewest characters are wrong with.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from wisp_local.cloud.entra.directory import FederatedCredential
from wisp_local.cloud.pages.distance import distance


@dataclass(frozen=True)
class Presented:
    """What an assertion says of itself, believed or not; what it does not say is empty."""

    issuer: str
    subject: str
    audience: str


def nearest(presented: Presented, credentials: Iterable[FederatedCredential]) -> FederatedCredential | None:
    """Return the credential that was most likely meant, or None when there is none at all."""
    return min(
        credentials, key=lambda each: (_misses(presented, each), separation(presented, each), each.name), default=None
    )


def separation(presented: Presented, credential: FederatedCredential) -> int:
    """Return how many characters are wrong, over all three fields; 0 for a match."""
    audience = min(
        (distance(presented.audience, each) for each in credential.audiences), default=len(presented.audience)
    )
    return distance(presented.issuer, credential.issuer) + distance(presented.subject, credential.subject) + audience


def is_match(presented: Presented, credential: FederatedCredential) -> bool:
    """Tell whether Entra would take the one for the other."""
    return not any(_misses(presented, credential))


def _misses(presented: Presented, credential: FederatedCredential) -> tuple[bool, bool, bool]:
    return (
        presented.issuer != credential.issuer,
        presented.subject != credential.subject,
        presented.audience not in credential.audiences,
    )
