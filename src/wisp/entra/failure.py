"""Says what went wrong with a connection, and what to do where that is known, in words that a workload may hear.

Exceptions' own texts are not repeated: they hold what the other side said, and URLs.
"""

import http.client
import re
import socket
import ssl

import urllib3

from wisp.entra.settings import ExchangeSettings

_SYSTEM = "--authority-ca or SSL_CERT_FILE"
_OWN = "AZURE_KUBERNETES_CA_FILE or _CA_DATA"
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b", re.ASCII)
"""How http.client says that a proxy refused to CONNECT."""
_HANG_UPS = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


def has_broken(error: Exception) -> bool:
    """Say whether a connection broke that was there; of a kept one, that may be all that is the matter.

    urllib3 calls it a protocol error, on the way through a proxy an error of the proxy's or of TLS.
    """
    return isinstance(error, urllib3.exceptions.ProtocolError) or isinstance(_reason(error), _HANG_UPS)


def failure_of(error: Exception, settings: ExchangeSettings) -> str:
    """Return the sentence that says why whoever `settings` name could not be asked."""
    forward = settings.forward
    if forward is None:
        return f"{settings.place} is unavailable: {_from_them(error, settings)}"
    proxy = f"the proxy {forward.url} ({forward.variable})"
    if (refused := _TUNNEL.search(str(_reason(error)))) is not None:
        return f"{settings.place} is unavailable: {proxy} {_refusal(refused[1], forward.variable)}"
    if isinstance(error, urllib3.exceptions.ProxyError):
        why = _explained(_reason(error), forward.variable, _SYSTEM)
        return f"{settings.place} is unavailable: {proxy} cannot be used: {why}"
    return f"{settings.place} is unavailable through {proxy}: {_from_them(error, settings)}"


def _refusal(status: str, variable: str) -> str:
    if status == "407":
        return f"wants credentials, or others (HTTP 407); give them in {variable} as USER:PASSWORD@ before the host"
    return f"lets nobody through (HTTP {status}); have it allow the host, or exempt that by NO_PROXY"


def _from_them(error: Exception, settings: ExchangeSettings) -> str:
    """Return the words for a failure that is not the proxy's."""
    token_proxy = settings.token_proxy
    if token_proxy is None:
        return _explained(_reason(error), "AZURE_AUTHORITY_HOST", _SYSTEM)
    own = token_proxy.ca_file is not None or token_proxy.ca_data is not None
    return _explained(_reason(error), "AZURE_KUBERNETES_TOKEN_PROXY", _OWN if own else f"{_OWN}, {_SYSTEM}")


def _explained(reason: Exception, address: str, trust: str) -> str:
    """Return reason and remedy; `address` and `trust` name the settings that say who is asked and who is trusted."""
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
            why = f"it does not answer as it should ({getattr(reason, 'strerror', None) or type(reason).__name__})"
    return f"{why}; {hint}"


def _reason(error: Exception) -> Exception:
    """Return the innermost exception: urllib3 keeps it as the cause, as `reason`, or among the arguments."""
    while True:
        kept = (error.__cause__, getattr(error, "reason", None), *error.args)
        inner = next((each for each in kept if isinstance(each, Exception)), None)
        if inner is None:
            return error
        error = inner
