"""Anything a client sends to the local cloud as form or assertion is granted by the rules or refused."""

import base64
import json
import math
from collections.abc import Callable
from urllib.parse import parse_qsl

from tests.support.fakes import UNIX
from wisp_local.cloud.entra.directory import FederatedCredential, Signature, match_credential, refuse_signature
from wisp_local.cloud.entra.refusals import Refused
from wisp_local.cloud.entra.request import (
    Assertion,
    ClientSecret,
    FederatedAssertion,
    TokenRequest,
    read_assertion,
    read_token_request,
)

CREDENTIAL = FederatedCredential("c", "https://i/", "s", ("a",))

Read = Callable[[str], Assertion | Refused]


def check(data: bytes, read: Read = read_assertion) -> None:
    """Fail if something is read into the input that it does not contain."""
    text = data.decode("utf-8", "surrogateescape")
    _check_form(text)
    _check_assertion(_compact(data) if data.startswith(b"{") else text, read)


def _compact(data: bytes) -> str:
    header, _, claims = data.partition(b"\n")
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, claims)), "c2ln"])


def _check_assertion(text: str, read: Read) -> None:
    assertion = read(text)
    if isinstance(assertion, Refused):
        _check_refused(assertion)
        return
    names = (assertion.key_id, assertion.issuer, assertion.subject, assertion.audience)
    assert all(name.encode() for name in names)
    assert not {assertion.not_before, assertion.expires} & {math.inf, -math.inf}
    assert assertion.not_before == assertion.not_before
    credential = match_credential(assertion, [CREDENTIAL], UNIX)
    if isinstance(credential, Refused):
        _check_refused(credential)
        return
    assert names[1:] == ("https://i/", "s", "a")
    assert assertion.not_before <= UNIX < assertion.expires
    for signature in Signature:
        refused = refuse_signature(assertion, signature)
        assert isinstance(refused, Refused) == (signature is not Signature.VERIFIED)


def _check_form(text: str) -> None:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return
    request = read_token_request(pairs)
    if isinstance(request, TokenRequest):
        match request.proof:
            case FederatedAssertion(secret):
                assert dict(pairs)["client_assertion"] == secret.reveal()
            case ClientSecret(secret):
                assert dict(pairs)["client_secret"] == secret.reveal()
        assert request.audience
        assert request.audience in dict(pairs)["scope"]
        assert all(name.isalnum() for name in request.capabilities)
    else:
        _check_refused(request)


def _check_refused(refused: Refused) -> None:
    assert refused.status in {400, 401}
    json.dumps({"error": refused.error, "error_description": refused.text}).encode()
