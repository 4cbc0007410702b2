"""Render tokens, refusals and failures as HTTP responses, in the dialect and with the request id of the client."""

from wisp.entra.freshness import Token
from wisp.entra.messages import Refused, TokenKey
from wisp.http.messages import Request, Response, retry_after
from wisp.imds.answer import Refusal, TokenDetails, error_body, token_body
from wisp.imds.dialects import IDENTITY_HEADERS
from wisp.proxy.router import REQUEST_ID, remember

_MOST_RENDERED = 8
_LONGEST_RENDERED = 16 * 1024
"""Bytes of a token document; most have 2,000."""
_LONGEST_REQUEST_ID = 128
_REQUEST_ID_BYTES = bytes(range(0x21, 0x7F))  # a set of them would take 8 kB
_NO_STORE = b"Cache-Control: no-store\r\n"  # RFC 6749 §5.1


class Renderer:
    """Render tokens and refusals; a few responses of each are kept, because clients repeat themselves."""

    def __init__(self) -> None:
        self._tokens: dict[TokenKey, tuple[Token, int, Response]] = {}
        """With the second of the steady clock that the response is good for."""
        self._refusals: dict[tuple[Refusal, bool], Response] = {}

    def find_token(self, key: TokenKey, token: Token, second: int) -> Response | None:
        """Return the response with `token` if it has been rendered in this second."""
        known = self._tokens.get(key)
        return known[2] if known is not None and known[1] == second and known[0] is token else None

    def token(self, key: TokenKey, token: Token, second: int) -> Response:
        """Return the response with `token`; `second` is the present one of the clock that its `expires_at` is on."""
        details = TokenDetails(key.client_id, key.resource, token.expires_on, token.not_before)
        body = token_body(token.access_token.reveal(), details, max(0, int(token.expires_at) - second))
        response = Response(200, body, headers=_NO_STORE)
        if len(body) <= _LONGEST_RENDERED:
            remember(self._tokens, key, (token, second, response), most=_MOST_RENDERED)
        return response

    def refusal(self, refusal: Refusal, request: Request) -> Response:
        """Return the response to a request that is refused."""
        key = refusal, _is_app_service(request)
        response = self._refusals.get(key)
        if response is None:
            headers = b"" if refusal.allow is None else f"Allow: {refusal.allow}\r\n".encode()
            response = _error(refusal, headers, request)
            remember(self._refusals, key, response, most=_MOST_RENDERED)
        return with_request_id(response, request)

    def failure(self, refused: Refused, request: Request) -> Response:
        """Return the response to a request whose exchange failed, with the time to wait if a retry may succeed."""
        headers = retry_after(refused.retry_after) if refused.passing else b""
        return with_request_id(_error(refused, headers, request), request)


def _error(error: Refusal | Refused, headers: bytes, request: Request) -> Response:
    status = error.status if _is_app_service(request) else None
    return Response(
        error.status, error_body(error.error, error.description, app_service_status=status), headers=headers
    )


def _is_app_service(request: Request) -> bool:
    return any(name in IDENTITY_HEADERS for name, _ in request.headers)


def with_request_id(response: Response, request: Request) -> Response:
    """Return `response` with the client's request id, as Azure's services do; other bytes are not repeated."""
    identifier = request.header(REQUEST_ID)
    if identifier is None or len(identifier) > _LONGEST_REQUEST_ID or identifier.strip(_REQUEST_ID_BYTES):
        return response
    headers = response.headers + b"x-ms-client-request-id: " + identifier + b"\r\n"
    return Response(response.status, response.body, response.content_type, headers)


def essentials(request: Request) -> Request:
    """Return what a response depends on: hundreds of requests may wait, each with up to 80 KiB of head and body."""
    headers = tuple(field for field in request.headers if field[0] == REQUEST_ID or field[0] in IDENTITY_HEADERS)
    return request._replace(target=b"", headers=headers, body=b"")
