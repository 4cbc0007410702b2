"""The sidecar: its parts wired together, from start to stop.

Start-up is measured, so the sidecar answers /readyz first and then loads the token service and all that it needs.
"""

# ruff: noqa: E402, PLC0415 -- what readiness does not need is imported later
import gc

gc.disable()  # until everything is loaded: there is nothing to collect, and searching takes a tenth of the time

import _signal  # type: ignore[import-not-found]  # the public module wraps its numbers in enumerations
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from wisp import __version__
from wisp.base.errors import SettingError, WispError
from wisp.entra.settings import ExchangeSettings, WorkloadSettings, exchange_settings, workload_settings
from wisp.http.connection import Source
from wisp.http.epoll_server import EpollServer, Loop
from wisp.http.messages import Reject, Request, Response
from wisp.http.sockets import Socket, listen, packet_pair
from wisp.proxy.flags import USAGE, Flags, parse_flags

if TYPE_CHECKING:
    from wisp.entra.messages import Result, TokenKey
    from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest
    from wisp.proxy.metadata_proxy import MetadataProxy
    from wisp.proxy.token_service import TokenService

_FIRST_PROBE = 0.3
"""Seconds to wait for a first probe before the rest is loaded: the pod's next container waits for it, and it shares our
CPU limit."""
_DESCRIPTORS = 4096
_OK = Response(200, b'{"status":"ok"}')
_STOPPING = Response(503, b'{"status":"stopping"}')
_HEALTH_TARGETS = (b"/readyz", b"/healthz")
_PROBE_FIELDS = frozenset(((b"host", b"localhost"), (b"connection", b"close")))
"""What `wisp.proxy.probe` sends. It passes the checks, so that the first probe need not wait until they are loaded."""


class Front:
    """The server's application: answers health requests, and loads the token service for the first other one.

    `load` makes the token service and is called once.
    """

    def __init__(self, load: "Callable[[], TokenService]") -> None:
        self._load = load
        self._service: TokenService | None = None
        self.ready = True
        """Whether /readyz answers 200; false once the sidecar stops."""
        self.probed = False
        """Whether a probe has been answered."""

    @property
    def service(self) -> "TokenService":
        """The token service, loaded now if it was not."""
        if self._service is None:
            self._service = self._load()
        return self._service

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Return the response, or its source; or None and call `reply` with it later.

        A health request that the checks reject goes to the token service, which rejects it like any other.
        """
        if request.target in _HEALTH_TARGETS and request.method in (b"GET", b"HEAD") and _passes_checks(request):
            self.probed = True
            return self.health(request.target.decode()) or _OK
        return self.service.answer(request, reply)

    def health(self, path: str) -> Response | None:
        """Return the health page at `path`, or None. The token service uses it for other spellings of the path."""
        if path == "/readyz":
            return _OK if self.ready else _STOPPING
        return _OK if path == "/healthz" else None

    def rejected(self, reject: Reject) -> Response:
        """Return the response to bytes that are not a request."""
        return self.service.rejected(reject)


def _passes_checks(request: Request) -> bool:
    if _PROBE_FIELDS.issuperset(request.headers):
        return True
    from wisp.imds.request import check

    return check(request) is None


class Services:
    """The token service and what it needs: the store, the exchange process, metrics and log. All loaded here."""

    def __init__(
        self,
        flags: Flags,
        settings: ExchangeSettings,
        workload: WorkloadSettings,
        loop: Loop,
        health: Callable[[str], Response | None],
    ) -> None:
        from wisp.base.log import Log
        from wisp.entra.process import ExchangeProcess
        from wisp.entra.tokens import Clocks, TokenStore
        from wisp.imds.identities import Identities
        from wisp.proxy.metrics import Metrics
        from wisp.proxy.token_service import OtherEndpoints, TokenService

        self.log = Log(flags.log_level)
        self._loop = loop
        self._endpoint = flags.metadata_endpoint
        self._metadata_proxy: MetadataProxy | None = None
        self._metrics = Metrics()
        self.process = ExchangeProcess(settings, loop, self._on_exchange)
        clocks = Clocks(lambda: loop.now, time.time, spread)
        store = TokenStore(self.process.begin, clocks, refusal_hold=flags.refusal_hold)
        loop.add_timed(store)
        identities = Identities(
            settings.client_id,
            object_id=workload.object_id,
            resource_id=workload.resource_id,
            header=workload.identity_header,
            header_required=workload.header_required,
        )
        self.allowed = flags.passthrough
        """What is forwarded to the node's metadata service."""
        endpoints = OtherEndpoints(health, self.allowed, self._forward)
        self.tokens = TokenService(store, identities, self._metrics, self.log, endpoints)

    def _forward(self, decision: "ForwardedRequest | AlreadyForwarded", request: Request) -> Response | Source:
        if self._metadata_proxy is None:
            from wisp.proxy.metadata_proxy import MetadataProxy
            from wisp.proxy.returned import MetadataEndpoint

            endpoint = MetadataEndpoint(*self._endpoint)
            self._metadata_proxy = MetadataProxy(endpoint, self._loop, self._metrics, self.log)
        return self._metadata_proxy.answer(decision, request)

    def _on_exchange(self, key: "TokenKey", result: "Result", seconds: float) -> None:
        """Count and log one exchange."""
        from wisp.entra.messages import Granted

        fields: dict[str, object] = {"client_id": key.client_id, "resource": key.resource, "seconds": round(seconds, 4)}
        if isinstance(result, Granted):
            self._metrics.exchanged("granted", None, seconds)
            self.log.info("token exchanged", expires_in=result.expires_in, **fields)
        else:
            self._metrics.exchanged(result.cause, result.aadsts, seconds)
            fields["aadsts"] = result.aadsts
            self.log.warning("exchange failed", cause=result.cause, reason=result.description, **fields)


class Sidecar:
    """One sidecar process. Raise SettingError if it cannot start."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._settings = exchange_settings(flags.authority_ca)
        self._workload = workload_settings()
        self._loop = Loop(steady)
        self._signals = stop_on_signals(self._loop, self._stop)  # before it listens: who sees that may stop it
        self._front = Front(lambda: self._load().tokens)
        self._server = EpollServer(_listen(flags.port), self._front, self._loop)
        self._services: Services | None = None

    def run(self) -> None:
        """Serve until told to stop, and then until what is in flight is done."""
        self._answer_first_probe()
        if self._front.ready:  # otherwise it was told to stop already
            self._finish_start()
        self._loop.run()
        self._server.close()
        if self._services is not None:
            self._services.process.close()
            self._services.log.info("stopped")
        self._signals.close()

    def _answer_first_probe(self) -> None:
        """Serve before the rest is loaded, until a probe is answered, a request needs the rest, or time is up."""
        end = steady() + _FIRST_PROBE
        while not (self._front.probed or self._services) and self._front.ready and (left := end - steady()) > 0:
            self._loop.turn(left)

    def _finish_start(self) -> None:
        raise_descriptor_limit()
        services = self._load()
        allowed = ",".join(services.allowed) or "none"
        fields = {"version": __version__, **self._settings.described(), "passthrough": allowed}
        services.log.info("listening", port=self._flags.port, **fields)
        gc.freeze()  # what lives as long as the process need not be searched again
        gc.enable()

    def _load(self) -> "Services":
        if self._services is None:
            from wisp.base.isolation import forbid_core_dumps

            forbid_core_dumps()  # before there are tokens, and for the exchange process
            self._services = Services(self._flags, self._settings, self._workload, self._loop, self._front.health)
            self._services.process.start()
        return self._services

    def _stop(self) -> None:
        if self._services is not None:
            self._services.log.info("stopping")
        self._front.ready = False
        self._server.drain()


def steady() -> float:
    """Return seconds of a clock that nobody sets and that goes on while a laptop sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def spread() -> float:
    """Return a random number in [0, 1): the random module would cost the sidecar 0.3 MB."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the connection limit needs: many systems start a process with 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def stop_on_signals(loop: Loop, stop: Callable[[], None]) -> Socket:
    """Call `stop` once from the loop at SIGTERM or SIGINT; return the socket that must stay open for that.

    From here on no signal is lost, which matters to process 1 of a container: the kernel drops signals that it has no
    handler for.
    """
    reader, writer = packet_pair()
    writer.settimeout(0)

    def on_signal(_events: int) -> None:
        loop.forget(reader.fileno())  # once is enough: draining has a deadline of its own
        stop()

    loop.watch(reader.fileno(), on_signal)
    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, lambda *_: None)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # if it is ignored, no child can be waited for
    _signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    return reader


def _listen(port: int) -> Socket:
    try:
        return listen("127.0.0.1", port)
    except OSError as error:
        hint = "stop what uses it, or choose another by --proxy-port"
        if error.errno == errno.EACCES:
            hint = "choose one above 1023 by --proxy-port"
        reason = (error.strerror or str(error)).lower()
        raise SettingError(f"cannot listen on 127.0.0.1:{port} ({reason})", hint=hint) from None


def _open_standard_streams() -> None:
    """Open those of descriptors 0 to 2 that are closed, as /dev/null: else a connection could get one, and the log."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 -- the lowest free descriptor


def main(arguments: list[str]) -> int:
    """Run the sidecar with these arguments; return its exit status."""
    _open_standard_streams()
    try:
        flags = parse_flags(arguments)
        if flags.help:
            _write(1, USAGE)
        elif flags.version:
            from wisp.base.version import version_text

            _write(1, version_text(flags.output or "text"))
        elif flags.probe:
            from wisp.proxy.probe import check

            check(flags.port)
        else:
            Sidecar(flags).run()
    except WispError as error:
        _write(2, error.report())
        return error.exit_status
    return 0


def _write(descriptor: int, text: str) -> None:
    """Write `text`; an argument or a path in it need not be UTF-8, and the reader may be gone."""
    with suppress(OSError):
        os.write(descriptor, text.encode(errors="backslashreplace"))
