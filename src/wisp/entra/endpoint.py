"""The token endpoint as the exchange process has it: where it is, over which connections, and one POST to it."""

import ssl
import threading
import time
from typing import Any
from urllib.parse import unquote

import urllib3

from wisp import __version__
from wisp.azure.clouds import scope_of, token_url, token_url_behind
from wisp.entra.assertion import read_assertion
from wisp.entra.failure import failure_of, has_broken
from wisp.entra.forward_proxy import Forward
from wisp.entra.interpret import claims_of_capabilities, interpret
from wisp.entra.messages import Ask, Refused, Result, unavailable
from wisp.entra.settings import ExchangeSettings
from wisp.entra.trust import Trust, TrustError, anchors_of, authority_anchors

MOST_AT_ONCE = 8
"""Exchanges under way, each on a connection of its own."""

_CONNECT, _READ = 3.0, 5.0
_ANSWER_LIMIT = 128 * 1024
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Endpoint:
    """Whom `settings` name, spoken to over kept connections; redirects are never followed."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings
        self._url = _url_of(settings)
        self._trust = Trust(anchors_of(settings))
        self._forward_trust = Trust(authority_anchors(settings))
        self._lock = threading.Lock()
        self._contexts: tuple[ssl.SSLContext | None, ...] = ()
        self._pool: urllib3.PoolManager | None = None

    def pool(self) -> urllib3.PoolManager:
        """Return the connections; new ones once what is trusted has changed. Raise TrustError."""
        with self._lock:
            contexts = (self._trust.context(), self._forward_context())
            if self._pool is None or contexts != self._contexts:
                self.close()
                self._pool = self._new_pool(*contexts)
                self._contexts = contexts
            return self._pool

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            self._pool.clear()

    def exchange(self, ask: Ask) -> Result:
        """Exchange the assertion, read anew from its file (kubelet rotates it), for a token: one round trip."""
        assertion = read_assertion(self._settings.token_file)
        if isinstance(assertion, Refused):
            return assertion
        form = {
            "grant_type": "client_credentials",
            "client_id": ask.client_id,
            "scope": scope_of(ask.resource),
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion.reveal(),
        }
        if ask.capabilities:
            form["claims"] = claims_of_capabilities(ask.capabilities)
        try:
            return self._post(form)
        except TrustError as error:
            return unavailable(str(error))
        except (urllib3.exceptions.HTTPError, OSError) as error:  # ssl.SSLError is an OSError
            return unavailable(failure_of(error, self._settings))

    def _post(self, form: dict[str, str]) -> Result:
        """Post the form; once more where a kept connection broke, for the other side may just have been closing it."""
        pool = self.pool()
        made = pool.connection_from_url(self._url).num_connections
        try:
            return self._posted(pool, form)
        except urllib3.exceptions.HTTPError as error:
            if not has_broken(error) or pool.connection_from_url(self._url).num_connections != made:
                raise
            return self._posted(pool, form)

    def _posted(self, pool: urllib3.PoolManager, form: dict[str, str]) -> Result:
        answer = pool.request(
            "POST",
            self._url,
            fields=form,
            encode_multipart=False,
            headers={"Accept": "application/json", "User-Agent": f"wisp/{__version__}"},
            timeout=urllib3.Timeout(connect=_CONNECT, read=_READ),
            redirect=False,
            preload_content=False,
        )
        body = answer.read(_ANSWER_LIMIT)
        if len(body) < _ANSWER_LIMIT:
            answer.release_conn()
        else:  # a connection with more of it to come cannot be used again
            answer.close()
        return interpret(answer.status, answer.headers.get("Retry-After"), body, time.time())

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


def _url_of(settings: ExchangeSettings) -> str:
    if settings.token_proxy is None:
        return token_url(settings.authority, settings.tenant)
    return token_url_behind(settings.token_proxy.url, settings.authority, settings.tenant)


def _forward_headers(forward: Forward) -> dict[str, str]:
    headers = {"User-Agent": f"wisp/{__version__}"}
    if forward.credentials is None:
        return headers
    return headers | urllib3.make_headers(proxy_basic_auth=unquote(forward.credentials.reveal()))
