"""The sidecar as pods run it: `python -m wisp.proxy` in a separate process, and a client of it."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.fakes import ARM, CLIENT_ID, jwt, token_target
from tests.support.waiting import PATIENCE
from wisp.proxy.probe import probe

COMMAND = (sys.executable, "-m", "wisp.proxy")
TENANT = "0f1e2d3c-0000-4000-8000-000000000001"


def free_port() -> int:
    """Return a free loopback port below the ephemeral range: it stays free until it is used."""
    while True:
        port = random.randrange(10_000, 32_768)  # noqa: S311 -- other runs of the tests choose another, no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def is_gone(pid: int) -> bool:
    """Return whether the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


class Answer(NamedTuple):
    """An answer as a client reads it; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body's JSON."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


_ASK = f"GET {token_target()} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n".encode()


def _answers(connection: socket.socket) -> Iterator[Answer]:
    """Yield the answers on a connection until its end."""
    with connection, connection.makefile("rb") as file:
        while line := file.readline():
            fields = http.client.parse_headers(file)
            headers = {name.lower(): value for name, value in fields.items()}
            yield Answer(int(line.split()[1]), headers, file.read(int(headers["content-length"])))


class Sidecar:
    """A running sidecar; `output` is everything it made visible except tokens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log
        self.output: list[str] = []

    def get(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Send a request on a separate connection; in header names, `_` stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, headers=fields)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, found, response.read())
        finally:
            connection.close()
        if answer.status != 200 or not target.startswith("/metadata"):
            self.output.append(repr(answer))
        return answer

    def token(self, resource: str = ARM, **parameters: str) -> Answer:
        """Request a token."""
        return self.get(token_target(resource, **parameters), Metadata="true")

    def tokens_at_once(self, clients: int, *, times: int = 1) -> list[Answer]:
        """Let so many clients ask for one token together, each `times` times on a connection of its own.

        The exchange process, which has to be there, is stopped until the sidecar has every request: all of them wait
        for one exchange, however slow the machine is. A client that asks again has sent both requests beforehand.
        """
        exchanges = self.child()
        assert exchanges, "there is no exchange process"
        connections = [socket.create_connection(("127.0.0.1", self.port), PATIENCE) for _ in range(clients)]
        os.kill(exchanges, signal.SIGSTOP)
        try:
            for connection in connections:
                connection.sendall((_ASK + b"\r\n") * (times - 1) + _ASK + b"Connection: close\r\n\r\n")
            self.get("/readyz")  # is read after all of those
        finally:
            os.kill(exchanges, signal.SIGCONT)
        answers = [answer for connection in connections for answer in _answers(connection)]
        self.output += [repr(answer) for answer in answers if answer.status != 200]
        return answers

    def events(self) -> list[dict[str, Any]]:
        """Return what it logged so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def child(self) -> int:
        """Return the exchange process' id, 0 if it does not run."""
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = tasks.read_text().split() if tasks.exists() else []
        return int(children[0]) if children else 0

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def check_discretion(self) -> None:
        """Fail where a token or an assertion is in the output: all of them begin with "eyJ"."""
        self.output.append(self._log.read_text())
        assert "eyJ" not in "".join(self.output)

    def note_what_others_see(self) -> None:
        """Note the metrics page and what the process table shows."""
        if self.process.poll() is None:
            self.get("/metrics")
            for pid in filter(None, (self.process.pid, self.child())):
                self.output.append(Path(f"/proc/{pid}/cmdline").read_text())


class Pod(NamedTuple):
    """What the webhook puts into a pod: a token file and an environment."""

    folder: Path
    environment: dict[str, str]

    @property
    def token_file(self) -> Path:
        """The service account token."""
        return Path(self.environment["AZURE_FEDERATED_TOKEN_FILE"])


def pod(folder: Path, authority: str, *, tenant: str = TENANT, client_id: str = CLIENT_ID) -> Pod:
    """Return a pod whose token no authority checks."""
    file = folder / "azure-identity-token"
    file.write_text(jwt(sub="system:serviceaccount:default:default"))
    environment = {
        "AZURE_TENANT_ID": tenant,
        "AZURE_CLIENT_ID": client_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_AUTHORITY_HOST": authority,
    }
    return Pod(folder, environment)


@contextmanager
def running(pod: Pod, *flags: str, wrapper: tuple[str, ...] = (), port: int = 0) -> Generator[Sidecar]:
    """Run a sidecar in `pod` until the block ends, and check that no secret became visible."""
    port = port or free_port()
    log = pod.folder / f"sidecar-{port}.log"
    command = [*wrapper, *COMMAND, "--proxy-port", str(port), *flags]
    environment = {**os.environ, **pod.environment}
    with log.open("wb") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
        sidecar = Sidecar(process, port, log)
        try:
            failure = probe(port, PATIENCE)
            assert failure is None, log.read_text()
            yield sidecar
            sidecar.note_what_others_see()
        finally:
            process.kill()
    sidecar.check_discretion()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a sidecar that is expected to end by itself, in a clean environment."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
