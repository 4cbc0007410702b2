"""Runs the sidecar: `wisp proxy`, or `python -m wisp.proxy`."""

# ruff: noqa: E402, PLC0415 -- start-up is measured: what readiness does not need is loaded once the sidecar listens
import gc

gc.disable()  # until everything is loaded: there is nothing to collect, and to look for it takes a tenth of the time

import errno
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from wisp import __version__
from wisp.base.errors import SettingError, WispError
from wisp.entra.settings import exchange_settings, workload_settings
from wisp.http.epoll import Loop
from wisp.http.epoll_peer import Times
from wisp.http.epoll_server import Server
from wisp.http.sockets import Socket, listen
from wisp.proxy.flags import USAGE, Flags, parse_flags
from wisp.proxy.front import Front
from wisp.proxy.signals import open_standard_streams, stop_on_signals

if TYPE_CHECKING:
    from wisp.proxy.running import Tokens
    from wisp.proxy.service import TokenService

_FIRST_PROBE = 0.3
"""Seconds for which the rest waits for a first probe: the pod's next container waits for it, and it shares our CPU."""


def steady() -> float:
    """Return seconds of a clock that no one sets and that goes on while a laptop sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sidecar:
    """The parts of one sidecar, wired together. Raise SettingError where it cannot start."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._settings = exchange_settings(flags.authority_ca)
        self._workload = workload_settings()
        self._loop = Loop(steady)
        self._kept = stop_on_signals(self._loop, self._stop)  # before it listens: who sees that may stop it
        self._front = Front(self._load_service)
        self._server = Server.start(_listen(flags.port), self._front, self._loop, times=Times())
        self._tokens: Tokens | None = None

    def run(self) -> None:
        """Serve until told to stop, and then until what is in flight is done."""
        self._answer_first_probe()
        if self._front.ready:  # else it was told to stop already
            self._settle()
        self._loop.run()
        self._server.close()
        if self._tokens is not None:
            self._tokens.process.close()
            self._tokens.log.info("stopped")
        self._kept.close()

    def _answer_first_probe(self) -> None:
        """Serve before the rest is loaded: until a probe is answered, a request needs it, or a moment has passed."""
        end = steady() + _FIRST_PROBE
        while not (self._front.probed or self._tokens) and self._front.ready and (left := end - steady()) > 0:
            self._loop.turn(left)

    def _settle(self) -> None:
        """Load the rest and say so."""
        from wisp.proxy.running import raise_descriptor_limit

        raise_descriptor_limit()
        tokens = self._load_tokens()
        passed = ",".join(tokens.passed) or "none"
        about = {"version": __version__, **self._settings.described(), "passthrough": passed}
        tokens.log.info("listening", port=self._flags.port, **about)
        gc.freeze()  # what lives as long as the process need not be looked at again
        gc.enable()

    def _load_service(self) -> "TokenService":
        return self._load_tokens().service

    def _load_tokens(self) -> "Tokens":
        if self._tokens is None:
            from wisp.base.isolation import forbid_core_dumps
            from wisp.proxy.running import Tokens

            forbid_core_dumps()  # before there are tokens, and for the exchange process
            self._tokens = Tokens(self._flags, self._settings, self._workload, self._loop, self._front.page)
            self._tokens.process.start()
        return self._tokens

    def _stop(self) -> None:
        if self._tokens is not None:
            self._tokens.log.info("stopping")
        self._front.ready = False
        self._server.drain()


def _listen(port: int) -> Socket:
    try:
        return listen("127.0.0.1", port)
    except OSError as error:
        hint = "stop what uses it, or choose another by --proxy-port"
        if error.errno == errno.EACCES:
            hint = "choose one above 1023 by --proxy-port"
        reason = (error.strerror or str(error)).lower()
        raise SettingError(f"cannot listen on 127.0.0.1:{port} ({reason})", hint=hint) from None


def main(arguments: list[str]) -> int:
    """Run the sidecar with these arguments; return its exit status."""
    open_standard_streams()
    try:
        flags = parse_flags(arguments)
        if flags.help or flags.version:
            _say(1, USAGE if flags.help else _version(flags.output))
        elif flags.probe:
            from wisp.proxy.probe import check

            check(flags.port)
        else:
            Sidecar(flags).run()
    except WispError as error:
        _say(2, error.report())
        return error.exit_status
    return 0


def _version(form: str | None) -> str:
    from wisp.base.version import version_text

    return version_text(form or "text")


def _say(descriptor: int, text: str) -> None:
    """Write `text`; an argument or a path in it need not be UTF-8, and nobody need be there to read it."""
    with suppress(OSError):
        os.write(descriptor, text.encode(errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
