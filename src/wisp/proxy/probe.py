"""Asks a running sidecar whether it is ready: what a container's startup probe runs."""

import socket
import time

_PATIENCE = 10.0
_PAUSE = 0.05


def probe(port: int, patience: float = _PATIENCE) -> str | None:
    """Ask 127.0.0.1:`port` for /readyz until it says yes, then return None; the failure after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        failure = _ask(port)
        if failure is None or time.monotonic() + _PAUSE >= deadline:
            return failure
        time.sleep(_PAUSE)


def _ask(port: int) -> str | None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = connection.recv(1024)
    except OSError as error:
        return error.strerror or "timed out"
    status = answer[9:12].decode("ascii", "replace")
    return None if answer.startswith(b"HTTP/1.1 200 ") else f"it answered {status or 'nothing'}"
