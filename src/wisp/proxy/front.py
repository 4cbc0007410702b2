"""The first to see a request: says whether the sidecar is alive and ready, and gives the rest to the token service.

The service is loaded when it is called for, after the first probe, or a moment after the sidecar listens: so readiness
does not wait for it, and a client that is quicker still is merely answered a few milliseconds later.
"""

from collections.abc import Callable
from typing import Protocol

from wisp.http.epoll_peer import Source
from wisp.http.head import Reject, Request
from wisp.http.response import Response

_OK = Response(200, b'{"status":"ok"}')
_STOPPING = Response(503, b'{"status":"stopping"}')
_PAGES = (b"/readyz", b"/healthz")
_PROBE_FIELDS = frozenset(((b"host", b"localhost"), (b"connection", b"close")))
"""What `wisp.proxy.probe` sends. It passes the checks, so that the first probe need not wait until they are loaded."""


class Service(Protocol):
    """What answers everything else."""

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Return the response, or its source; or None and call `reply` with it later."""

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are no request."""


class Front:
    """The application that the server is given. `load` makes the service and is called once."""

    def __init__(self, load: Callable[[], Service]) -> None:
        self._load = load
        self._service: Service | None = None
        self.ready = True
        """Whether /readyz says yes; false once the sidecar is to stop."""
        self.probed = False
        """Whether a probe has been answered."""

    @property
    def service(self) -> Service:
        """The token service, loaded now if it was not."""
        if self._service is None:
            self._service = self._load()
        return self._service

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Return the response, or its source; or None and call `reply` with it later.

        A health request that the checks reject goes to the service, which rejects it as any other.
        """
        if request.target in _PAGES and request.method in (b"GET", b"HEAD") and _passes_checks(request):
            self.probed = True
            return self.page(request.target.decode()) or _OK
        return self.service.answer(request, reply)

    def page(self, path: str) -> Response | None:
        """Return the page at `path`, for the service too: it recognises other spellings. None where there is none."""
        if path == "/readyz":
            return _OK if self.ready else _STOPPING
        return _OK if path == "/healthz" else None

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are no request."""
        return self.service.rejected(reject)


def _passes_checks(request: Request) -> bool:
    """Return whether `request`, which is for a health page, passes the checks."""
    if _PROBE_FIELDS.issuperset(request.headers):
        return True
    from wisp.imds.checks import check  # noqa: PLC0415 -- readiness does not need it

    return check(request) is None
