"""The attacks on the webhook."""

import contextlib
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.siege.attacker import LONGEST, AttackRun, Client, Script
from tests.siege.bodies import LARGEST, containers, filled, head, pod, post, review
from tests.siege.case import ANYONE, CUT, POD_AUTHOR, Case
from tests.siege.scripts import (
    MANY,
    Attack,
    asking,
    crowd,
    hasty,
    never_reading,
    reading_slowly,
    resetting,
    sending,
    trickling,
)

if TYPE_CHECKING:
    from tests.siege.targets import WebhookTarget

_JUDGED = frozenset({"admitted", "refused", "400", "413"})
_THOUSAND_CONTAINERS = review(pod(containers=containers(1000)))
_THOUSAND = post(_THOUSAND_CONTAINERS)
_NOT_PODS = ('"invalid"', "null", "[]", "5", "true")
_VARIABLE = '{"name":"SOME_VARIABLE"}'
READS = 8
"""Reads of service accounts that reviews may cause at a time."""
READ_PATIENCE = 3.0
"""Seconds after which one that is not answered ends."""
_INCOMPLETE = b"POST /mutate-v1-pod HTTP/1.1\r\nHost: x\r\n"
_HEALTH_INCOMPLETE = b"GET /healthz HTTP/1.1\r\nHost:"
_TYPED = "Only the fields that admission reads become Python objects."
_VALUES = "A labelled pod's spec may have 75,000 values, which are counted before any becomes an object."
_METADATA = "A labelled pod may have 512 KiB of labels and annotations."


def _held(size: int) -> bytes:
    """Return a body of `size` bytes without its last one."""
    return head(size) + b" " * (size - 1)


async def _chunked_without_end(client: Client) -> None:
    await client.open(tls=True)
    await client.send(
        b"POST /mutate-v1-pod HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    for _ in range(64):  # of 256 KiB: 16 MiB
        await client.send(b"40000\r\n" + b" " * 0x40000 + b"\r\n")
    await client.answer()


async def _waiting_to_go_on(client: Client) -> None:
    await client.open(tls=True)
    await client.send(head(LARGEST, "Expect: 100-continue"))
    await client.hold()
    await client.hold()


async def _unencrypted_records(client: Client) -> None:
    """Finish a handshake and then send what is not encrypted."""
    await client.open(tls=True)
    await client.send_beneath_tls(b"\x17\x03\x03\x40\x00" + bytes(0x4000))
    await client.hold()


async def _garbage(client: Client) -> None:
    numbers = random.Random(client.number)  # noqa: S311 -- the same bytes every time
    await client.open(tls=True)
    for _ in range(4):
        await client.send(post(numbers.randbytes(numbers.randrange(1, 100_000))))
        await client.answer()


def client_hello(name: str = "wisp-webhook.wisp.svc", maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """Return the record with which a TLS client begins."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = maximum
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def _in_fragments(hello: bytes) -> bytes:
    """Return a ClientHello as TLS records of one byte each (RFC 8446 §5.1)."""
    return b"".join(hello[:3] + b"\x00\x01" + bytes((byte,)) for byte in hello[5:])


async def _evil_names(run: AttackRun) -> None:
    good = b"n" * 60
    names = (bytes(60), b"\xff" * 60, b"../../../etc/passwd".ljust(60, b"/"), b"%n%s" * 15, b"." * 60)
    hellos = [client_hello(good.decode()).replace(good, name) for name in names]

    async def script(client: Client) -> None:
        await sending(hellos[client.number % len(hellos)])(client)

    await run.crowd(400, script, sources=MANY)


def _asking_for(account: Callable[[], str], *, times: int = 10) -> Script:
    """Send reviews on one connection, each of a pod with the service account that `account` returns."""

    async def script(client: Client) -> None:
        await asking(*(post(review(pod(account=account()))) for _ in range(times)), tls=True)(client)

    return script


def _missing_account() -> str:
    return f"missing-{random.randrange(3)}"  # noqa: S311 -- any of three


def _random_account() -> str:
    return f"missing-{random.randrange(1 << 40)}"  # noqa: S311 -- one that nobody asked for yet


@contextmanager
def _few_reads(target: "WebhookTarget") -> Iterator[None]:
    """Fail if three missing accounts cost more than one read each per second: so long an answer is remembered."""
    with _reads_bounded(target, at_a_time=3, seconds=1.0):
        yield


@contextmanager
def _silent_api(target: "WebhookTarget") -> Iterator[None]:
    """Let the API server answer no read of a service account; fail if it is sent more than READS of them at a time."""
    world, over = target.api.world, threading.Event()

    def hang(_method: str, path: str) -> None:
        if "/serviceaccounts/" in path:
            over.wait(LONGEST)

    before, world.fault = world.fault, hang
    try:
        with _reads_bounded(target, at_a_time=READS, seconds=READ_PATIENCE):
            yield
    finally:
        world.fault = before
        over.set()


@contextmanager
def _reads_bounded(target: "WebhookTarget", *, at_a_time: int, seconds: float) -> Iterator[None]:
    """Fail if there are more reads of service accounts than `at_a_time` make that take so many seconds each."""
    count_requests, begun = target.api.world.count_requests, time.monotonic()
    reads = -count_requests("/serviceaccounts/")
    yield
    reads += count_requests("/serviceaccounts/")
    most = at_a_time * (2 + (time.monotonic() - begun) / seconds)
    assert reads <= most, f"{reads} reads of service accounts, at most {most:.0f} expected"


def _of_reviews(body: Callable[[], bytes]) -> Attack:
    """Return the attack of eight clients that send one review each and wait for the answer, again and again."""

    async def attack(run: AttackRun) -> None:
        await run.crowd(8, asking(post(body()), tls=True))

    return attack


def _judged(sender: str, sentence: str, defence: str, body: Callable[[], bytes], *outcomes: str) -> Case:
    """Return a case of a review that is answered."""
    return Case(sender, sentence, defence, _of_reviews(body), frozenset(outcomes) or _JUDGED)


CASES: dict[str, Case] = {
    "brackets-as-object": _judged(
        ANYONE,
        "A review whose object is 3.4 MB of `[[],[],…]`",
        "The object is not a pod: 400.",
        lambda: review(f"[{filled('[]')}]"),
        "400",
    ),
    "brackets-in-unknown-field": _judged(
        POD_AUTHOR,
        "A pod with 3.4 MB of `[[],[],…]` in a field that is unknown to Kubernetes",
        _VALUES,
        lambda: review(pod(spec=f'"unknown":[{filled("[]")}],')),
        "refused",
    ),
    "brackets-without-the-label": _judged(
        POD_AUTHOR,
        "A pod without the label, with 3.4 MB of `[[],[],…]`",
        "The label is decoded first; without it, nothing else of the pod is decoded.",
        lambda: review(pod(spec=f'"unknown":[{filled("[]")}],').replace('"azure.workload.identity/use":"true"', "")),
        "admitted",
    ),
    "brackets-in-annotations": _judged(
        ANYONE,
        "A pod whose annotations are 3.4 MB of `[[],[],…]`",
        _METADATA,
        lambda: review(pod(metadata=f'"annotations":[{filled("[]")}],')),
        "refused",
    ),
    "brackets-in-env": _judged(
        ANYONE,
        "A container whose env is 3.4 MB of `[[],[],…]`",
        _VALUES,
        lambda: review(pod(containers=f'{{"name":"a","image":"i","env":[{filled("[]")}]}}')),
        "refused",
    ),
    "braces-in-old-object": _judged(
        ANYONE,
        "An update whose old object is 3.4 MB of `{}`",
        _TYPED,
        lambda: review(pod(), operation="UPDATE", old_object=f"[{filled('{}')}]"),
    ),
    "env-of-many-variables": _judged(
        POD_AUTHOR,
        "A container with 110,000 environment variables",
        _VALUES,
        lambda: review(pod(containers=f'{{"name":"a","image":"i","env":[{filled(_VARIABLE)}]}}')),
        "refused",
    ),
    "brackets-7-mib": Case(
        ANYONE,
        "A review with 7 MiB of `[[],[],…]`",
        "A body over 3.5 MiB is rejected by its Content-Length, before it is read: 413.",
        crowd(8, asking(post(review(pod(spec=f'"unknown":[{filled("[]", 7 << 20)}],'))), tls=True)),
        tolerated=CUT | {"413"},
    ),
    "announced-7-mib": Case(
        ANYONE,
        "Requests that announce a body of 7 MiB",
        "A body over 3.5 MiB is rejected by its Content-Length: 413.",
        crowd(64, asking(head(7 << 20), tls=True)),
        frozenset({"413"}),
    ),
    "chunked-without-end": Case(
        ANYONE,
        "Bodies of an endless number of chunks",
        "The size of the chunks is counted; over 3.5 MiB, the request is rejected: 413.",
        crowd(16, _chunked_without_end),
    ),
    "containers-28000": _judged(
        POD_AUTHOR,
        "A pod with 28,000 containers, a manifest of 809 KiB",
        "Pods with more than 1,000 containers are refused.",
        lambda: review(pod(containers=containers(28_000))),
        "refused",
    ),
    "containers-1001": _judged(
        POD_AUTHOR,
        "A pod with 1,001 containers",
        "Pods with more than 1,000 containers are refused.",
        lambda: review(pod(containers=containers(1001))),
        "refused",
    ),
    "containers-1000": _judged(
        POD_AUTHOR,
        "A pod with 1,000 containers",
        "The pod is admitted; the patch is under 1 MiB.",
        lambda: review(pod(containers=containers(1000))),
        "admitted",
    ),
    "containers-1000-large-env": _judged(
        POD_AUTHOR,
        "A pod with 1,000 containers, each with 3 kB of env",
        _TYPED,
        lambda: review(pod(containers=containers(1000, ',"env":[{"name":"A","value":"' + "x" * 3200 + '"}]'))),
        "admitted",
        "refused",
    ),
    "patch-over-1-mib": _judged(
        POD_AUTHOR,
        "1,000 containers of a service account whose client ID is 2,000 characters long",
        "Patches over 1 MiB are refused.",
        lambda: review(pod(containers=containers(1000), account="wide")),
        "refused",
    ),
    "million-digits": _judged(
        POD_AUTHOR,
        "A pod with a number of a million digits",
        _TYPED,
        lambda: review(pod(spec=f'"priority":{"9" * 1_000_000},')),
        "admitted",
    ),
    "million-digit-port": _judged(
        ANYONE,
        "A container port of a million digits",
        "Fields that admission reads must have the right type.",
        lambda: review(pod(containers=f'{{"name":"a","image":"i","ports":[{{"containerPort":{"9" * 1_000_000}}}]}}')),
        "refused",
    ),
    "nested-100000-deep": _judged(
        ANYONE,
        "A pod nested 100,000 deep",
        "The decoder limits the depth: 400.",
        lambda: review(pod(spec=f'"unknown":{"[" * 100_000}{"]" * 100_000},')),
    ),
    "nested-without-end": _judged(
        ANYONE,
        "A body of 3.4 million `[`",
        "The decoder limits the depth: 400.",
        lambda: b"[" * LARGEST,
        "400",
    ),
    "duplicate-keys": _judged(
        ANYONE,
        "A spec that has `containers` 100,000 times",
        _VALUES,
        lambda: review(pod(spec='"containers":[],' * 100_000)),
    ),
    "labels-270000": _judged(
        ANYONE,
        "A pod with 270,000 labels",
        _METADATA,
        lambda: review(
            pod().replace('"labels":{', '"labels":{' + "".join(f'"l{index}":"",' for index in range(270_000)))
        ),
    ),
    "annotations-270000": _judged(
        ANYONE,
        "A pod with 270,000 annotations",
        _METADATA,
        lambda: review(pod(metadata='"annotations":{' + ",".join(f'"a{index}":""' for index in range(270_000)) + "},")),
    ),
    "escapes": _judged(
        POD_AUTHOR,
        "An annotation of 3.4 MB of escaped characters",
        _METADATA,
        lambda: review(pod(metadata='"annotations":{"a":"' + "\\u20ac" * (LARGEST // 6) + '"},')),
    ),
    "invalid-utf-8": _judged(
        ANYONE,
        "A review with bytes that are not UTF-8",
        "It is rejected because it is not JSON.",
        lambda: review(pod(metadata='"annotations":{"a":"@"},')).replace(b"@", b"\xff\xfe\xc0\xaf" * 100_000),
        "400",
        "refused",
    ),
    "not-pods": Case(
        ANYONE,
        "Reviews whose object is a string, null, a list, a number or a boolean",
        "The object is not a pod: 400.",
        crowd(8, asking(*(post(review(body)) for body in _NOT_PODS), tls=True)),
        frozenset({"400"}),
    ),
    "random-bytes": Case(
        ANYONE,
        "Random bytes as the review",
        "They are not JSON: 400.",
        crowd(16, _garbage),
        frozenset({"400"}),
    ),
    "idle-connections": Case(
        ANYONE,
        "1,200 idle connections from different addresses",
        "At most 512 connections, counted when accepted; the connection that has been idle longest is closed.",
        crowd(1200, sending(b"", tls=True), sources=MANY),
    ),
    "idle-connections-one-source": Case(
        ANYONE,
        "600 idle connections from one address",
        "At most 256 connections per address.",
        crowd(600, sending(b"", tls=True)),
    ),
    "incomplete-requests": Case(
        ANYONE,
        "1,200 incomplete requests from different addresses, repeated when they are closed",
        "The incomplete request that has waited longest is closed.",
        crowd(1200, sending(_INCOMPLETE, tls=True), sources=MANY),
    ),
    "incomplete-requests-one-source": Case(
        ANYONE,
        "600 incomplete requests from one address, repeated when they are closed",
        "At most 256 connections per address.",
        crowd(600, sending(_INCOMPLETE, tls=True)),
    ),
    "handshakes-of-three-bytes": Case(
        ANYONE,
        "4,000 TLS handshakes of three bytes from 2,000 addresses",
        "Handshakes count as connections, which also bounds the memory for TLS.",
        crowd(4000, sending(b"\x16\x03\x01"), sources=MANY),
    ),
    "handshakes-of-three-bytes-one-source": Case(
        ANYONE,
        "1,500 TLS handshakes of three bytes from one address",
        "At most 256 connections per address, including handshakes.",
        crowd(1500, sending(b"\x16\x03\x01")),
    ),
    "handshakes-without-a-byte": Case(
        ANYONE,
        "1,500 connections from different addresses that do not start a handshake",
        "Handshakes count as connections.",
        crowd(1500, sending(b""), sources=MANY),
    ),
    "slow-reader-close": Case(
        POD_AUTHOR,
        "Slow readers of a response of 450 kB with `Connection: close`",
        "They receive the complete response: TLS is shut down after the last byte was read.",
        crowd(16, reading_slowly(post(_THOUSAND_CONTAINERS, "Connection: close"), tls=True)),
        frozenset({"admitted"}),
        tolerated=frozenset(),
    ),
    "slow-reader-keep-alive": Case(
        POD_AUTHOR,
        "Slow readers of a response of 450 kB on a persistent connection",
        "They receive the complete response.",
        crowd(16, reading_slowly(_THOUSAND, tls=True)),
        frozenset({"admitted"}),
        tolerated=frozenset(),
    ),
    "never-reading": Case(
        ANYONE,
        "500 connections that send reviews with large responses, and read nothing",
        "A connection with unread responses is not read; the total size of unsent responses is bounded.",
        crowd(500, never_reading(_THOUSAND, 20, tls=True), sources=MANY),
    ),
    "pipelined-flood": Case(
        ANYONE,
        "200 connections that send 2,000 pipelined requests each and read no response",
        "One request per connection is processed at a time; a connection with unread responses is not read.",
        crowd(200, never_reading(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2000, tls=True), sources=MANY),
    ),
    "bodies-held": Case(
        ANYONE,
        "200 bodies of 3.4 MB without their last byte",
        "The total size of bodies in flight is bounded.",
        crowd(200, sending(_held(LARGEST), tls=True), sources=MANY),
    ),
    "bodies-held-one-source": Case(
        ANYONE,
        "100 bodies of 3.4 MB without their last byte, from one address",
        "The total size of bodies in flight is bounded.",
        crowd(100, sending(_held(LARGEST), tls=True)),
    ),
    "small-bodies-held": Case(
        ANYONE,
        "600 bodies of 100 kB without their last byte",
        "The total size of bodies in flight is bounded.",
        crowd(600, sending(_held(100_000), tls=True), sources=MANY),
    ),
    "waiting-to-go-on": Case(
        ANYONE,
        "600 requests that wait for `100 Continue` and then send nothing",
        "An incomplete request has 10 seconds, and can be closed earlier at the limit of connections.",
        crowd(600, _waiting_to_go_on, sources=MANY),
        tolerated=CUT | {"100"},
    ),
    "trickled-bytes": Case(
        ANYONE,
        "600 reviews that are sent byte by byte",
        "A request has 10 seconds to arrive, even if its connection is active.",
        crowd(600, trickling(_THOUSAND, tls=True), sources=MANY),
    ),
    "head-without-end": Case(
        ANYONE,
        "200 requests with a megabyte of header fields",
        "A head over 16 KiB is rejected: 431.",
        crowd(200, sending(_INCOMPLETE + b"X-Field: 0123456789\r\n" * 50_000, tls=True), sources=MANY),
        tolerated=CUT | {"431"},
    ),
    "health-incomplete-80": Case(
        ANYONE,
        "80 incomplete requests at the health port",
        "The incomplete request that has waited longest is closed.",
        crowd(80, sending(_HEALTH_INCOMPLETE, health=True), sources=MANY),
    ),
    "health-incomplete-1000": Case(
        ANYONE,
        "1,000 incomplete requests at the health port",
        "The incomplete request that has waited longest is closed.",
        crowd(1000, sending(_HEALTH_INCOMPLETE, health=True), sources=MANY),
    ),
    "health-idle-1000": Case(
        ANYONE,
        "1,000 connections to the health port that send nothing",
        "The connection that has been idle longest is closed.",
        crowd(1000, sending(b"", health=True), sources=MANY),
    ),
    "metrics-unread": Case(
        ANYONE,
        "300 connections that request /metrics a thousand times and read nothing",
        "A connection with unread responses is not read, and can be closed at the limit of connections.",
        crowd(300, never_reading(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 1000, health=True), sources=MANY),
    ),
    "missing-accounts": Case(
        ANYONE,
        "300 reviews for three service accounts that do not exist",
        "Missing accounts are cached for two seconds; at most one concurrent read per account.",
        crowd(30, _asking_for(_missing_account)),
        frozenset({"admitted", "refused"}),
        around=_few_reads,
    ),
    "random-accounts": Case(
        ANYONE,
        "Thousands of reviews for service accounts that do not exist",
        "Concurrent reads from the API server are limited; the cache is bounded.",
        crowd(100, _asking_for(_random_account), sources=MANY),
        frozenset({"admitted", "refused"}),
    ),
    "random-accounts-silent-api": Case(
        ANYONE,
        "Reviews for service accounts that do not exist while the API server does not answer",
        "Concurrent reads from the API server are limited and end after 3 seconds.",
        crowd(300, _asking_for(_random_account, times=1), sources=MANY),
        tolerated=CUT | {"admitted", "refused"},
        around=_silent_api,
    ),
    "plain-http": Case(
        ANYONE,
        "HTTP without TLS at the TLS port",
        "The handshake fails.",
        crowd(200, sending(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), sources=MANY),
    ),
    "garbage-for-tls": Case(
        ANYONE,
        "Random bytes at the TLS port",
        "The handshake fails.",
        crowd(200, sending(random.Random(2).randbytes(20_000)), sources=MANY),  # noqa: S311 -- no secret
    ),
    "garbage-within-tls": Case(
        ANYONE,
        "Complete handshakes followed by records that are not encrypted",
        "OpenSSL closes the connection.",
        crowd(200, _unencrypted_records, sources=MANY),
    ),
    "hello-in-fragments": Case(
        ANYONE,
        "ClientHellos in records of one byte each, without the last one",
        "A handshake has 5 seconds and counts as a connection.",
        crowd(600, sending(_in_fragments(client_hello())[:-6]), sources=MANY),
    ),
    "old-tls": Case(
        ANYONE,
        "Handshakes of TLS 1.2, which allows renegotiation",
        "TLS 1.3 is required, and there are no session tickets.",
        crowd(300, sending(client_hello(maximum=ssl.TLSVersion.TLSv1_2)), sources=MANY),
    ),
    "evil-server-names": Case(
        ANYONE,
        "Server names (SNI) of NUL bytes, paths, dots and bytes that are not UTF-8",
        "The name is ignored.",
        _evil_names,
    ),
    "connect-storm": Case(
        ANYONE,
        "400 clients that repeatedly connect and close immediately",
        "A closed connection no longer counts.",
        crowd(400, hasty, sources=MANY),
    ),
    "reset-in-the-middle": Case(
        ANYONE,
        "Connections that are reset in the middle of a body",
        "The received data is discarded with the connection.",
        crowd(200, resetting(head(LARGEST) + bytes(100_000), tls=True), sources=MANY),
    ),
    "reset-after-asking": Case(
        ANYONE,
        "Connections that are reset before their large response",
        "The response is discarded with the connection.",
        crowd(100, resetting(_THOUSAND, tls=True), sources=MANY),
    ),
}
