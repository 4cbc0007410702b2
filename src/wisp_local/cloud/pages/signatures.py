"""Check a token's signature against this cloud's own keys; asks nobody else, so that looking on stays offline."""

from enum import Enum

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import Signature
from wisp_local.cloud.issuer import verifies
from wisp_local.cloud.issuer_keys import NoOthers, OwnIssuers
from wisp_local.cloud.pages.decoded import Decoded
from wisp_local.cloud.state.store import Store
from wisp_local.cloud.web import Site


class Checked(Enum):
    """What became of a signature, in words."""

    VERIFIED = "verified"
    WRONG = "does not verify: it was signed with another key, or changed since"
    UNPUBLISHED = "its key is not among those that the issuer publishes"
    ELSEWHERE = "not checked here: the issuer is not one of this cloud's"


def access_token_signature(store: Store, token: Secret, decoded: Decoded) -> Checked:
    """Check a token that this cloud issued."""
    for key in store.issuers.token_keys():
        if key.key_id == decoded.header.get("kid"):
            return Checked.VERIFIED if verifies(token, key.public) else Checked.WRONG
    return Checked.UNPUBLISHED


def assertion_signature(site: Site, assertion: Secret, decoded: Decoded) -> Checked:
    """Check an assertion of an issuer of this cloud."""
    found = OwnIssuers(site.store, site.base_urls, NoOthers()).find(decoded.presented.issuer, _key_id(decoded))
    if found is Signature.KEY_NOT_PUBLISHED:
        return Checked.UNPUBLISHED
    if isinstance(found, Signature):
        return Checked.ELSEWHERE
    return Checked.VERIFIED if verifies(assertion, found) else Checked.WRONG


def _key_id(decoded: Decoded) -> str:
    key_id = decoded.header.get("kid")
    return key_id if isinstance(key_id, str) else ""
