"""A server of wisp as a process: the webhook or the gateway, with its log and its health pages."""

import contextlib
import http.client
import json
import subprocess
import threading
from collections.abc import Iterable
from typing import Any

from tests.support.waiting import PATIENCE, wait_until


class ServerProcess:
    """A running process that has said where it listens. `log` holds the lines of its standard error."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self._readers: list[threading.Thread] = []
        self._read(process.stderr, self.log)
        try:
            wait_until(lambda: self.events("listening") or process.poll() is not None, "it listens")
            (event,) = self.events("listening")
        except BaseException:
            self.kill()
            raise
        self.port: int = event["port"]
        self.health_port: int = event["health_port"]

    def _read(self, stream: Iterable[bytes] | None, lines: list[dict[str, Any]]) -> None:
        """Append the lines of a stream to `lines`, until it ends."""
        assert stream is not None
        reader = threading.Thread(target=_read_lines, args=(stream, lines), daemon=True)
        self._readers.append(reader)
        reader.start()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what the log says of an event."""
        return [line for line in list(self.log) if line["event"] == name]

    def health(self, path: str) -> tuple[int, str]:
        """Ask the plain listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def await_ready(self) -> None:
        """Wait until /readyz says so."""
        wait_until(lambda: self.health("/readyz")[0] == 200, "it is ready")

    def metric(self, line: str) -> float:
        """Return the value of one sample."""
        page = self.health("/metrics")[1]
        (value,) = (text.rsplit(" ", 1)[1] for text in page.splitlines() if text.startswith(line + " "))
        return float(value)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self._join()

    def stop(self) -> int:
        """Ask it to end; return its status."""
        self.process.terminate()
        return self._join()

    def _join(self) -> int:
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status


def _read_lines(stream: Iterable[bytes], lines: list[dict[str, Any]]) -> None:
    for line in stream:
        try:
            lines.append(json.loads(line))
        except ValueError:  # a traceback, or the half of a line that a killed process leaves
            lines.append({"event": line.decode(errors="replace")})
