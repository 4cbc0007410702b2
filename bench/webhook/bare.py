"""The yardstick: the least that uvloop, its TLS, httptools and Python can do for a keep-alive connection.

`python -m bench.webhook.bare PORT SIZE CHAIN KEY` reads every request to its end and answers with the same SIZE bytes.
There are no limits, no deadlines, no errors, and nobody looks at what was asked.
"""

import asyncio
import ssl
import sys
from typing import cast

import httptools
import uvloop

from bench.bare import answer_of


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by the loop)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse (called by the loop)."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer (called by the parser)."""
        if self._transport is not None:
            self._transport.write(self._answer)


async def serve(port: int, answer: bytes, context: ssl.SSLContext) -> None:
    """Answer until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Peer(answer), "127.0.0.1", port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    _context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _context.minimum_version = ssl.TLSVersion.TLSv1_3
    _context.load_cert_chain(sys.argv[3], sys.argv[4])
    uvloop.run(serve(int(sys.argv[1]), answer_of(int(sys.argv[2])), _context))
