"""What an exchange says of itself once taken apart: tokens decoded, a refusal compared; knows no keys and no store."""

from collections.abc import Sequence
from dataclasses import dataclass

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import Client, FederatedCredential
from wisp_local.cloud.entra.refusals import CERTIFICATE_NOT_REGISTERED, Refused
from wisp_local.cloud.pages.comparison import Compared, compare_with
from wisp_local.cloud.pages.decoded import Decoded, decode
from wisp_local.cloud.pages.nearest import nearest
from wisp_local.cloud.pages.remedy import Remedy, remedies
from wisp_local.cloud.pages.verdict import in_short


@dataclass(frozen=True)
class Examined:
    """`assertion` and `token`, decoded when they can be; `meant` is the federated credential nearest to a refusal."""

    assertion: Decoded | None
    token: Decoded | None = None
    meant: FederatedCredential | None = None
    compared: tuple[Compared, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    in_short: str = ""


def examine(
    assertion: str,
    outcome: Secret | Refused,
    client: Client | None,
    credentials: Sequence[FederatedCredential],
) -> Examined:
    """Take apart what was presented and what was answered: an access token or a refusal."""
    decoded = decode(assertion)
    if isinstance(outcome, Secret):
        return Examined(decoded, token=decode(outcome.reveal()))
    if decoded is None or client is None or outcome.code == CERTIFICATE_NOT_REGISTERED:
        return Examined(decoded, in_short=in_short(outcome, ()))
    meant = nearest(decoded.presented, credentials)
    compared = () if meant is None else compare_with(decoded.presented, meant)
    mismatched = meant is None or any(not each.matches for each in compared)
    ways = remedies(decoded.presented, client, credentials, meant) if mismatched else ()
    return Examined(decoded, None, meant, compared, ways, in_short(outcome, compared))
