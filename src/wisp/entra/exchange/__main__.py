"""Run the exchange process. Its standard input is a packet socket to the sidecar or gateway (`wisp.entra.process`).

It ends when that closes or when idle.
"""

import contextlib
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from wisp.base.isolation import forbid_core_dumps
from wisp.base.secret import Secret
from wisp.entra.exchange.endpoint import TokenEndpoint
from wisp.entra.exchange.files import TrustError
from wisp.entra.messages import MOST_AT_ONCE, TokenKey, pack_result, unavailable, unpack_request, unpack_settings
from wisp.entra.route import ForwardProxy, TokenProxy
from wisp.entra.settings import ExchangeSettings

_IDLE = 60.0
_PACKET_LIMIT = 64 * 1024
_SETTINGS_LIMIT = 256 * 1024
"""Bytes of the settings' packet: a variable with certificates has at most 128 KiB."""


class Worker:
    """Serve requests, several at a time, until the other end closes the channel or sends none for a while."""

    def __init__(self, channel: socket.socket, endpoint: TokenEndpoint) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._busy = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Serve requests, then exit."""
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as threads:
            while (packet := self._next_packet()) != b"":
                with self._lock:
                    self._busy += 1
                threads.submit(self._serve, *unpack_request(packet))
            # The other end is gone or will start another process: nobody waits for the exchanges under way.
            os._exit(0)

    def _next_packet(self) -> bytes:
        """Return the next request, or empty bytes at the end."""
        while True:
            try:
                return self._channel.recv(_PACKET_LIMIT)
            except TimeoutError:
                with self._lock:
                    if not self._busy:
                        return b""

    def _serve(self, number: int, key: TokenKey, request_id: str) -> None:
        try:
            result = self._endpoint.exchange(key, request_id)
        except Exception as error:  # noqa: BLE001 -- the client needs an answer, and the text may not be shown
            result = unavailable(f"The exchange failed: {type(error).__name__}", cause="exchange_process")
        try:
            self._channel.send(pack_result(number, result))
        except OSError:
            os._exit(0)
        with self._lock:
            self._busy -= 1


def settings_of(packet: bytes) -> ExchangeSettings:
    """Return the settings in the first packet."""
    fields = dict(zip(ExchangeSettings._fields, unpack_settings(packet), strict=True))
    if fields["token_proxy"] is not None:
        fields["token_proxy"] = TokenProxy(*fields["token_proxy"])
    if fields["forward"] is not None:
        url, variable, credentials = fields["forward"]
        fields["forward"] = ForwardProxy(url, variable, None if credentials is None else Secret(credentials))
    return ExchangeSettings(**fields)


def main(idle: float = _IDLE) -> None:
    """Serve the other end of standard input, and exit after `idle` seconds without a request."""
    forbid_core_dumps()
    channel = socket.socket(fileno=0)
    packet = channel.recv(_SETTINGS_LIMIT)
    if not packet:
        sys.exit(0)
    endpoint = TokenEndpoint(settings_of(packet))
    with contextlib.suppress(TrustError):  # reported with the first result, after another try
        endpoint.pool()
    channel.settimeout(idle)
    Worker(channel, endpoint).run()


if __name__ == "__main__":
    main()
