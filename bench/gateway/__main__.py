"""Measures the gateway against a bare TLS server: `make bench-gateway`, or `python -m bench.gateway [--write]`."""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.compiled import compile_sidecar
from bench.load import wrk
from bench.processes import Memory
from bench.report import machine, table, write
from bench.webhook.load import Findings, Row, measure, run
from bench.webhook.processes import Server, bare
from tests.support.authority import Authority, Post, answer
from tests.support.fakes import jwt
from tests.unit.wisp.gateway.process import CLIENT_ID, PATH, RunningGateway, form, gateway, surroundings
from tests.unit.wisp.kubernetes.apiserver import ApiServer
from tests.unit.wisp.kubernetes.callers import AUDIENCE, ISSUER

_FORM = "application/x-www-form-urlencoded"
_UNLIMITED = ("--caller-rate=0", "--caller-requests=0", "--requests=0")
_UNCACHED = ("--grant-seconds=0", "--denial-seconds=0")
_QUICK_READER = ("bash", "-c", 'exec "$@" > >(exec cat >/dev/null)', "bash")
"""Reads the audit lines through a pipe, as a container runtime does; a reader in Python would compete with wrk."""
_ID = "client-request-id: 6a9d0fb8-1f0a-4f2a-9c53-2b7c0e6b1a55"
_ASSERTION, _TOKEN = 1200, 1600
"""Characters of a projected service account token, and of an access token of a managed identity."""
_CALLERS = 1000
_AT_ONCE = 100
_METHOD = (
    "wrk with one thread over TLS 1.3, kept connections, token requests of {size:,} bytes as SDKs send them, without "
    "limits for each caller; {rounds} rounds of {seconds} s for each server in turn; medians of the rounds and of "
    "their ratios. Audit lines go through a pipe. Without the cache, each request causes a TokenReview and a "
    "SubjectAccessReview by a small API server in Python, which limits the rate. Memory from /proc (VmRSS / RssAnon, "
    "1 MB = 1,000,000 bytes). Load average at the end, wrk and the server included: {busy:.0f}."
)


def main() -> None:
    """Measure, print, and write if asked to."""
    arguments = _arguments()
    wrk()
    compile_sidecar()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        api, entra = stack.enter_context(surroundings(Path(folder), grants_usual_tokens))
        ours = stack.enter_context(without_limits(api, entra, Path(folder)))
        uncached = stack.enter_context(without_limits(api, entra, Path(folder), *_UNCACHED))
        body = usual_request(api)
        rows = load_rows(body)
        size = _answer_size(ours, body)
        memory = [("idle", Memory.of(ours.process.pid))]
        servers = {"bare": stack.enter_context(bare(size, Path(folder))), "wisp": server_of(ours)}
        memory.append(after_grants(server_of(ours), rows[1], arguments.grants))
        found = measure(servers, rounds=arguments.rounds, seconds=arguments.seconds, rows=rows)
        memory.append(("after the load above", Memory.of(ours.process.pid)))
        asked = measure({"wisp": server_of(uncached)}, rounds=arguments.rounds, seconds=arguments.seconds, rows=rows)
        exchanges = exchanges_of_many_callers(api, entra, Path(folder))
    section = _section(found, asked, memory, exchanges, _method(arguments, len(body)))
    print(section)
    if arguments.write:
        write(section, "bench.gateway")


def usual_request(api: ApiServer) -> bytes:
    """Return the request of a new pod that may use the identity, with a token of the usual length."""
    pod = api.world.callers.pod(granted=CLIENT_ID)
    token = jwt(iss=ISSUER, sub=pod.username, aud=[AUDIENCE], exp=int(time.time()) + 3600, padding="x" * 500)
    token += "x" * max(0, _ASSERTION - len(token))
    api.world.callers.accept(token, pod)
    return form(token)


def grants_usual_tokens(_: Post) -> bytes:
    """Answer as Entra does, with a token of the usual length."""
    token = jwt(aud="https://management.azure.com", oid="object", tid="tenant", nbf=int(time.time()))
    token += "x" * (_TOKEN - len(token))
    return answer(200, {"token_type": "Bearer", "expires_in": 86399, "ext_expires_in": 86399, "access_token": token})


def exchanges_of_many_callers(api: ApiServer, entra: Authority, folder: Path) -> int:
    """Return how many exchanges a thousand callers of one identity cause that all come before its first token."""
    callers = api.world.callers
    bodies = [form(callers.token(callers.pod(granted=CLIENT_ID))) for _ in range(_CALLERS)]
    with without_limits(api, entra, folder, "--connections-per-source=0") as running:
        before = len(entra.posts)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            statuses = {granted.status for granted in pool.map(running.post, bodies)}
        if statuses != {200}:
            raise SystemExit(f"bench: callers were refused: HTTP {statuses}")
        return len(entra.posts) - before


def after_grants(server: Server, row: Row, grants: int) -> tuple[str, Memory]:
    """Have at least so many tokens granted; return the gateway's memory then."""
    count = 0
    while count < grants:
        count += run(server, row, 1).answers
    return f"after {count:,} grants", Memory.of(server.pid)


@contextmanager
def without_limits(api: ApiServer, entra: Authority, folder: Path, *flags: str) -> Iterator[RunningGateway]:
    """Run a gateway without limits for its callers; yield it as soon as it is ready."""
    own = Path(tempfile.mkdtemp(dir=folder))  # each gateway has a certificate of its own
    with gateway(api, entra, own, *_UNLIMITED, *flags, wrapper=_QUICK_READER) as running:
        running.await_ready()
        yield running


def server_of(running: RunningGateway) -> Server:
    """Return the gateway as a server under load."""
    return Server(running.process.pid, running.port, running.health_port)


def load_rows(body: bytes) -> list[Row]:
    """Return the kinds of load: a request of one caller, again and again."""
    return [
        Row(f"{count} connection{'s' * (count > 1)}", count, body, path=PATH, content_type=_FORM, headers=(_ID,))
        for count in (1, 16, 64)
    ]


def _answer_size(running: RunningGateway, body: bytes) -> int:
    """Return the bytes of the whole answer."""
    with running.connect() as connection:
        connection.post(body)
        request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {_FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.socket.sendall(request.encode() + body)
        head, _, part = connection.socket.recv(65536).partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(part) < length:
            part += connection.socket.recv(65536)
        return len(head) + 4 + length


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.gateway", description="Measure the gateway against a bare TLS server.")
    parser.add_argument("--write", action="store_true", help="update docs/explanation/performance.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load for each server, row and round")
    parser.add_argument("--grants", type=int, default=100_000, help="before memory is read")
    return parser.parse_args()


def _method(arguments: argparse.Namespace, size: int) -> str:
    return _METHOD.format(size=size, busy=os.getloadavg()[0], **vars(arguments))


def _section(found: Findings, asked: Findings, memory: list[tuple[str, Memory]], exchanges: int, method: str) -> str:
    rows = [
        [
            row.name,
            f"{found.rate(row, 'bare'):,.0f}",
            f"{found.rate(row, 'wisp'):,.0f}",
            f"{found.ratio(row):.2f}",
            f"{asked.rate(row, 'wisp'):,.0f}",
            f"{found.p99(row, 'bare') * 1e3:.1f} ms",
            f"{found.p99(row, 'wisp') * 1e3:.1f} ms",
        ]
        for row in load_rows(b"")
    ]
    head = ["grants a second", "bare", "wisp", "wisp ÷ bare", "without the cache", "p99, bare", "p99, wisp"]
    occupied = table(["memory, MB", "resident / anonymous"], [[name, str(each)] for name, each in memory])
    many = f"{_CALLERS:,} callers of one identity, {_AT_ONCE} at a time, caused {exchanges} exchange(s) with Entra."
    return f"{machine()}\n\n{method}\n\n{table(head, rows)}\n\n{occupied}\n\n{many}"


if __name__ == "__main__":
    main()
