"""The token endpoint: trust, connections, one POST, and what to tell a workload when it fails."""

import http.client
import re
import socket
import ssl
import threading
import time
from typing import Any
from urllib.parse import unquote

import urllib3

from wisp import __version__
from wisp.azure import scope_of, token_url, token_url_behind
from wisp.entra.exchange.files import Trust, TrustError, anchors_of, authority_anchors, read_assertion
from wisp.entra.exchange.interpret import claims_of_capabilities, interpret
from wisp.entra.messages import MOST_AT_ONCE, Refused, Result, TokenKey, unavailable
from wisp.entra.route import ForwardProxy
from wisp.entra.settings import ExchangeSettings

DIRECT = (3.0, 5.0)
"""Seconds that Entra has to connect, and to answer; together less than an exchange may take."""
VIA_TOKEN_PROXY = (2.0, 6.5)
"""A custom token endpoint has longer to answer: if it is wisp's gateway, it waits for Entra itself, and says so."""
_RESPONSE_LIMIT = 128 * 1024
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_SYSTEM_CA_SETTINGS = "--authority-ca or SSL_CERT_FILE"
_OWN_CA_SETTINGS = "AZURE_KUBERNETES_CA_FILE or _CA_DATA"
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b", re.ASCII)
"""How http.client reports that a proxy refused to CONNECT."""
_HANG_UPS = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


class TokenEndpoint:
    """The token endpoint of `settings`, over persistent connections. Redirects are never followed."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings
        self._trust = Trust(anchors_of(settings))
        self._forward_trust = Trust(authority_anchors(settings))
        self._lock = threading.Lock()
        self._contexts: tuple[ssl.SSLContext | None, ...] = ()
        self._pool: urllib3.PoolManager | None = None

    def pool(self) -> urllib3.PoolManager:
        """Return the connection pool; a new one if the trusted authorities have changed. Raise TrustError."""
        with self._lock:
            contexts = (self._trust.context(), self._forward_context())
            if self._pool is None or contexts != self._contexts:
                self.close()
                self._pool = self._new_pool(*contexts)
                self._contexts = contexts
            return self._pool

    def close(self) -> None:
        """Close the idle connections."""
        if self._pool is not None:
            self._pool.clear()

    def exchange(self, key: TokenKey, request_id: str = "") -> Result:
        """Read the assertion from its file (kubelet rotates it) and exchange it for a token: one round trip.

        Entra repeats `request_id`, a GUID, as the correlation id of its answer and of its sign-in log.
        """
        assertion = read_assertion(self._settings.token_file)
        if isinstance(assertion, Refused):
            return assertion
        form = {
            "grant_type": "client_credentials",
            "client_id": key.client_id,
            "scope": scope_of(key.resource),
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion.reveal(),
        }
        if key.claims or key.capabilities:
            form["claims"] = key.claims or claims_of_capabilities(key.capabilities)
        headers = {"Accept": "application/json", "User-Agent": f"wisp/{__version__}"}
        if request_id:
            headers["client-request-id"] = request_id
        if key.newer and self._settings.token_proxy is not None:
            headers["Cache-Control"] = "no-cache"  # RFC 9111 §5.2.1.4; wisp's gateway heeds it
        try:
            return self._post(_url_of(self._settings, key.tenant), form, headers)
        except TrustError as error:
            return unavailable(str(error))
        except (urllib3.exceptions.HTTPError, OSError) as error:  # ssl.SSLError is an OSError
            return unavailable(failure_of(error, self._settings))

    def _post(self, url: str, form: dict[str, str], headers: dict[str, str]) -> Result:
        """Post the form; once more if an idle connection broke, because the other side may just have closed it."""
        pool = self.pool()
        connections = pool.connection_from_url(url).num_connections
        try:
            return self._post_once(pool, url, form=form, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            if not has_broken(error) or pool.connection_from_url(url).num_connections != connections:
                raise
            return self._post_once(pool, url, form=form, headers=headers)

    def _post_once(
        self, pool: urllib3.PoolManager, url: str, *, form: dict[str, str], headers: dict[str, str]
    ) -> Result:
        connect, read = DIRECT if self._settings.token_proxy is None else VIA_TOKEN_PROXY
        response = pool.request(
            "POST",
            url,
            fields=form,
            encode_multipart=False,
            headers=headers,
            timeout=urllib3.Timeout(connect=connect, read=read),
            redirect=False,
            preload_content=False,
        )
        body = response.read(_RESPONSE_LIMIT)
        if len(body) < _RESPONSE_LIMIT:
            response.release_conn()
        else:  # a connection with more of it to come cannot be reused
            response.close()
        return interpret(response.status, response.headers.get("Retry-After"), body, time.time())

    def _forward_context(self) -> ssl.SSLContext | None:
        forward = self._settings.forward
        return self._forward_trust.context() if forward is not None and forward.url.startswith("https:") else None

    def _new_pool(self, context: ssl.SSLContext, forward_context: ssl.SSLContext | None) -> urllib3.PoolManager:
        options: dict[str, Any] = {"ssl_context": context, "retries": False, "maxsize": MOST_AT_ONCE}
        token_proxy, forward = self._settings.token_proxy, self._settings.forward
        if token_proxy is not None and token_proxy.sni_name is not None:
            options["server_hostname"] = token_proxy.sni_name
        if forward is None:
            return urllib3.PoolManager(**options)
        headers = _forward_headers(forward)
        return urllib3.ProxyManager(forward.url, proxy_headers=headers, proxy_ssl_context=forward_context, **options)


def _url_of(settings: ExchangeSettings, tenant: str) -> str:
    """Return the token endpoint's URL for `tenant`, or for the tenant in the settings if that is empty."""
    tenant = tenant or settings.tenant
    if settings.token_proxy is None:
        return token_url(settings.authority, tenant)
    return token_url_behind(settings.token_proxy.url, settings.authority, tenant)


def _forward_headers(forward: ForwardProxy) -> dict[str, str]:
    headers = {"User-Agent": f"wisp/{__version__}"}
    if forward.credentials is None:
        return headers
    return headers | urllib3.make_headers(proxy_basic_auth=unquote(forward.credentials.reveal()))


def has_broken(error: Exception) -> bool:
    """Return whether an established connection broke; if it was an idle one, a new one may work.

    urllib3 reports a protocol error, through a proxy an error of the proxy or of TLS.
    """
    return isinstance(error, urllib3.exceptions.ProtocolError) or isinstance(_reason(error), _HANG_UPS)


def failure_of(error: Exception, settings: ExchangeSettings) -> str:
    """Return why the token endpoint of `settings` gave no answer, and what to do, for a workload to read.

    Exceptions' own texts are not repeated: they contain what the other side sent, and URLs.
    """
    forward = settings.forward
    if forward is None:
        return f"{settings.endpoint_name} is unavailable: {_endpoint_failure(error, settings)}"
    proxy = f"the proxy {forward.url} ({forward.variable})"
    if (refused := _TUNNEL.search(str(_reason(error)))) is not None:
        return f"{settings.endpoint_name} is unavailable: {proxy} {_tunnel_refusal(refused[1], forward.variable)}"
    if isinstance(error, urllib3.exceptions.ProxyError):
        why = _explain(_reason(error), forward.variable, _SYSTEM_CA_SETTINGS)
        return f"{settings.endpoint_name} is unavailable: {proxy} cannot be used: {why}"
    return f"{settings.endpoint_name} is unavailable through {proxy}: {_endpoint_failure(error, settings)}"


def _tunnel_refusal(status: str, variable: str) -> str:
    if status == "407":
        return (
            f"requires credentials, or other ones (HTTP 407); give them in {variable} as USER:PASSWORD@ before the host"
        )
    return f"refuses the connection (HTTP {status}); have it allow the host, or exempt that by NO_PROXY"


def _endpoint_failure(error: Exception, settings: ExchangeSettings) -> str:
    """Return the text for a failure that is not the forward proxy's."""
    token_proxy = settings.token_proxy
    if token_proxy is None:
        return _explain(_reason(error), "AZURE_AUTHORITY_HOST", _SYSTEM_CA_SETTINGS)
    own = token_proxy.ca_file is not None or token_proxy.ca_data is not None
    return _explain(
        _reason(error),
        "AZURE_KUBERNETES_TOKEN_PROXY",
        _OWN_CA_SETTINGS if own else f"{_OWN_CA_SETTINGS}, {_SYSTEM_CA_SETTINGS}",
    )


def _explain(reason: Exception, address: str, trust: str) -> str:
    """Return reason and remedy; `address` and `trust` name the settings of the URL and of the trusted authorities."""
    hint = "check network policies and any firewall in between"
    match reason:
        case ssl.SSLCertVerificationError():
            why, hint = f"its certificate is not trusted ({reason.verify_message})", f"trust its authority by {trust}"
        case socket.gaierror():
            why, hint = f"its name cannot be resolved ({reason.strerror})", f"check {address} and the pod's DNS"
        case ConnectionRefusedError():
            why, hint = "the connection was refused", f"check {address}, network policies and egress"
        case urllib3.exceptions.TimeoutError() | TimeoutError():
            why, hint = "it did not answer in time", "check network policies and egress"
        case _ if isinstance(reason, _HANG_UPS):
            why = "it closed the connection without an answer"
        case urllib3.exceptions.IncompleteRead() | http.client.IncompleteRead():
            why = "it broke off in the middle of its answer"
        case ssl.SSLError():
            detail = (reason.reason or "no reason given").replace("_", " ").lower()
            why, hint = f"TLS with it failed ({detail})", f"check {address}"
        case _:
            why = f"the connection failed ({getattr(reason, 'strerror', None) or type(reason).__name__})"
    return f"{why}; {hint}"


def _reason(error: Exception) -> Exception:
    """Return the innermost exception: urllib3 stores it as the cause, as `reason`, or among the arguments."""
    while True:
        candidates = (error.__cause__, getattr(error, "reason", None), *error.args)
        inner = next((candidate for candidate in candidates if isinstance(candidate, Exception)), None)
        if inner is None:
            return error
        error = inner
