"""The exchange process: reads the assertion, speaks TLS with Entra, and hands the answer to the sidecar.

Started by `wisp.entra.process` with a packet socket as its standard input; ends when that closes or when idle. Here
memory is no object, and no byte that a workload sent is parsed here.
"""

import contextlib
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from wisp.base.isolation import forbid_core_dumps
from wisp.base.secret import Secret
from wisp.entra.endpoint import MOST_AT_ONCE, Endpoint
from wisp.entra.forward_proxy import Forward
from wisp.entra.messages import Ask, pack_result, unavailable, unpack_ask, unpack_settings
from wisp.entra.settings import ExchangeSettings
from wisp.entra.token_proxy import TokenProxy
from wisp.entra.trust import TrustError

_IDLE = 60.0
_PACKET_LIMIT = 64 * 1024
_SETTINGS_LIMIT = 256 * 1024
"""Bytes of the settings' packet: a variable with certificates has 128 KiB at most."""


class Worker:
    """Answers the sidecar's questions, several at a time, until it hangs up or falls silent."""

    def __init__(self, channel: socket.socket, endpoint: Endpoint) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._busy = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Serve; return when there is nothing more to serve."""
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as threads:
            while (packet := self._next_packet()) != b"":
                with self._lock:
                    self._busy += 1
                threads.submit(self._serve, *unpack_ask(packet))
            # The sidecar is gone or will start another: nobody waits for what is still under way.
            os._exit(0)

    def _next_packet(self) -> bytes:
        """Return the next question; nothing at the end."""
        while True:
            try:
                return self._channel.recv(_PACKET_LIMIT)
            except TimeoutError:
                with self._lock:
                    if not self._busy:
                        return b""

    def _serve(self, number: int, ask: Ask) -> None:
        try:
            result = self._endpoint.exchange(ask)
        except Exception as error:  # noqa: BLE001 -- the one who waits must hear something, and its text may not be shown
            result = unavailable(f"The exchange failed: {type(error).__name__}", cause="exchange_process")
        try:
            self._channel.send(pack_result(number, result))
        except OSError:
            os._exit(0)
        with self._lock:
            self._busy -= 1


def settings_of(packet: bytes) -> ExchangeSettings:
    """Return the settings that the first packet tells."""
    told = dict(zip(ExchangeSettings._fields, unpack_settings(packet), strict=True))
    token_proxy, forward = told["token_proxy"], told["forward"]
    told["token_proxy"] = token_proxy and TokenProxy(*token_proxy)
    told["forward"] = forward and _forward_of(*forward)
    return ExchangeSettings(**told)


def _forward_of(url: str, variable: str, credentials: str | None) -> Forward:
    return Forward(url, variable, None if credentials is None else Secret(credentials))


def main(idle: float = _IDLE) -> None:
    """Serve the sidecar at the other end of standard input, and end after `idle` seconds without a question."""
    forbid_core_dumps()
    channel = socket.socket(fileno=0)
    packet = channel.recv(_SETTINGS_LIMIT)
    if not packet:
        sys.exit(0)
    endpoint = Endpoint(settings_of(packet))
    with contextlib.suppress(TrustError):  # said with the first answer, and tried again then
        endpoint.pool()
    channel.settimeout(idle)
    Worker(channel, endpoint).run()


if __name__ == "__main__":
    main()
