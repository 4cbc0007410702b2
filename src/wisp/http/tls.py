"""The listener's TLS: contexts that are exchanged while connections come in. Keys touch no disk."""

import os
import ssl
from typing import Final

from wisp.base.secret import Secret

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Presented:
    """What new connections are shown; those that exist keep what they have seen. Nothing is shown before `show`.

    With `client_ca` (PEM), clients must present a certificate that one of these CAs has issued. Raise ssl.SSLError if
    it holds no certificate.
    """

    def __init__(self, minimum: str = "1.3", client_ca: str | None = None) -> None:
        self._minimum = VERSIONS[minimum]
        self._client_ca = client_ca
        self._current: ssl.SSLContext | None = None
        self.context = self._new()
        """Give this one to the listener."""
        self.context.sni_callback = self._choose  # called for every handshake, with or without a name in it

    @property
    def ready(self) -> bool:
        """Whether there is a certificate to show."""
        return self._current is not None

    def show(self, chain: bytes, key: Secret) -> None:
        """Show this chain (PEM) from now on. Raise ssl.SSLError where key and chain are no pair."""
        context = self._new()
        load_pem(context, chain, key.reveal().encode())
        self._current = context

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:  # noqa: ARG002 -- ssl's signature
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None

    def _new(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.set_alpn_protocols(["http/1.1"])  # API servers offer h2 first
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.num_tickets = 0  # API servers keep connections, not sessions
        if self._client_ca is not None:
            # In every context: the handshake takes the mode from the first one and the CAs from the one chosen by name.
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self._client_ca)
        return context


def load_pem(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load a certificate from memory: ssl takes files only, and a file in memory is one. Raise ssl.SSLError."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(chain + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
