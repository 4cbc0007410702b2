"""Ask a running sidecar whether it is ready, in a container's postStart hook."""

import _socket
import time

from wisp.base.errors import WispError

REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_PATIENCE = 10.0
_PAUSE = 0.01


def check(port: int, patience: float = _PATIENCE) -> None:
    """Wait until the sidecar on `port` is ready. Raise WispError if it is not after `patience` seconds."""
    failure = probe(port, patience)
    if failure is not None:
        raise WispError(f"no sidecar is ready on 127.0.0.1:{port} ({failure})", hint="see its log")


def probe(port: int, patience: float = _PATIENCE) -> str | None:
    """Request /readyz until it answers 200 and return None, or return the failure after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        failure = _ask(port)
        if failure is None or time.monotonic() + _PAUSE >= deadline:
            return failure
        time.sleep(_PAUSE)


def _ask(port: int) -> str | None:
    # `_socket` as in wisp.http.sockets: the public module takes as long to load as the interpreter to start.
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.settimeout(1.0)
        connection.connect(("127.0.0.1", port))
        connection.sendall(REQUEST)
        answer = connection.recv(1024)
    except OSError as error:
        return error.strerror or "timed out"
    finally:
        connection.close()
    status = answer[9:12].decode("ascii", "replace")
    return None if answer.startswith(b"HTTP/1.1 200 ") else f"it answered {status or 'nothing'}"
