"""Passes requests on to the metadata service: so many at a time, each counted, its failure said and logged.

Loaded with the first request that passes: most pods never send one.
"""

import errno
import os

from wisp.http.epoll import Loop
from wisp.http.epoll_peer import Source
from wisp.http.head import Request
from wisp.http.response import Response
from wisp.http.sockets import connect
from wisp.imds.answer import error_body
from wisp.imds.passthrough import Forward, Returned
from wisp.proxy.log import Log
from wisp.proxy.metrics import Metrics
from wisp.proxy.relay import Endpoint, Failure, Relay
from wisp.proxy.returning import Return
from wisp.proxy.service import echoing

MOST = 32
"""Requests on their way at a time."""
ABSENCE = 5.0
"""Seconds for which a metadata service that could not be connected to is taken to be absent."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_GARBLED = ("malformed", "redirect", "truncated")  # it is there and answers, but not as it should


class Passing:
    """Pass requests on to the metadata service at `endpoint`."""

    def __init__(self, endpoint: Endpoint, loop: Loop, metrics: Metrics, log: Log) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._metrics = metrics
        self._log = log
        self._relays: set[Relay] = set()
        self._returns: list[Return] = []
        self._mark = os.urandom(8).hex().encode()
        """Tells requests that this sidecar passed on from those of others."""
        self._absent_until = 0.0
        self._absence = Failure("unreachable", "")
        loop.add_timed(self)

    def begin(self, forward: Forward, request: Request) -> Response | Source:
        """Send `request` on as `forward`; return where its answer will come from, or why there will be none."""
        started = self._start(forward, request)
        if isinstance(started, Failure):
            self._count(forward, started, 0.0)
            return echoing(self._response(started), request)
        return started

    def explain(self, returned: Returned, request: Request) -> Source:
        """Answer a request that a sidecar passed on already; the answer says how it came here and what to do."""
        source = Return(request, own=returned.mark == self._mark)
        self._returns.append(source)
        return source

    def due(self) -> float | None:
        """Return when the next request runs out of time, or is to be answered."""
        if self._returns:
            return self._loop.now
        return min((relay.deadline for relay in self._relays), default=None)

    def tick(self) -> None:
        """End those that have, and answer the others."""
        now = self._loop.now
        returns, self._returns = self._returns, []
        for source in returns:
            self._refuse(source)
        for relay in [relay for relay in self._relays if relay.deadline <= now]:
            relay.expire()

    def _start(self, forward: Forward, request: Request) -> Relay | Failure:
        if self._loop.now < self._absent_until:
            return self._absence
        if len(self._relays) >= MOST:
            return Failure("too_many", f"{MOST} requests are on their way already")
        try:
            connection = connect(self._endpoint.host, self._endpoint.port)
        except OSError as error:
            failure = Failure("unreachable", (error.strerror or str(error)).lower())
            if error.errno in _EXHAUSTED:
                return failure._replace(cause="exhausted")
            self._note_absence(failure)
            return failure
        data = forward.encode(self._endpoint.name, self._mark)
        relay = Relay(
            connection, data, self._loop, lambda relay, failure: self._ended(relay, failure, forward, request)
        )
        self._relays.add(relay)
        return relay

    def _ended(self, relay: Relay, failure: Failure | None, forward: Forward, request: Request) -> None:
        self._relays.discard(relay)
        self._count(forward, failure, self._loop.now - relay.begun_at)
        if failure is None:
            return
        if failure.cause == "unreachable":
            self._note_absence(failure)
        relay.fail(echoing(self._response(failure), request))

    def _refuse(self, source: Return) -> None:
        refuse = source.refusal(self._endpoint, {relay.local_address for relay in self._relays})
        self._metrics.requests["refused"] += 1
        self._log.info("request refused", status=refuse.status, reason=refuse.description)
        response = Response(refuse.status, error_body(refuse.error, refuse.description))
        source.reply(echoing(response, source.request))

    def _note_absence(self, failure: Failure) -> None:
        """Remember it: off Azure every client that looks for the metadata service is to hear at once."""
        self._absence = failure
        self._absent_until = self._loop.now + ABSENCE

    def _count(self, forward: Forward, failure: Failure | None, seconds: float) -> None:
        path = forward.target.partition(b"?")[0].decode()
        if failure is None:
            self._metrics.requests["passed"] += 1
            self._log.debug("request passed", path=path, seconds=round(seconds, 4))
        else:
            self._metrics.requests["pass_failed"] += 1
            about = {"cause": failure.cause, "reason": failure.reason, "seconds": round(seconds, 4)}
            self._log.warning("pass failed", path=path, **about)

    def _response(self, failure: Failure) -> Response:
        """Return what the client hears: 502 where trying again is of no use at once, else 503 and when to."""
        service = f"the metadata service at {self._endpoint}"
        if failure.cause in _GARBLED:
            return Response(502, error_body("bad_gateway", f"{service} gave no usable answer: {failure.reason}"))
        if failure.cause == "unreachable":
            said = f"this node has no metadata service: {service} cannot be connected to ({failure.reason})"
            return _later(said, max(1.0, self._absent_until - self._loop.now))
        return _later(f"{service} cannot be asked now: {failure.reason}", 1.0)


def _later(said: str, seconds: float) -> Response:
    headers = b"Retry-After: %d\r\n" % -int(-seconds // 1)  # rounded up
    return Response(503, error_body("temporarily_unavailable", said[0].upper() + said[1:]), headers=headers)
