"""Every fault that the sidecar is tested with: how it starts and how it ends."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from tests.contract.faults.faulty_authority import FaultyAuthority, hang_up_on_hello, reset, speak_plainly
from tests.contract.faults.forwarding import FakeForwardProxy, says, tunnels
from tests.support.authority import Behaviour, Drip, Last, Post, answer, grants, in_turn, refuses
from tests.support.fakes import jwt
from tests.unit.wisp.proxy.sidecar import Pod
from wisp_local.cloud.state.authority import new_authority

HTML = b"HTTP/1.1 %d Whatever\r\nContent-Type: text/html\r\nContent-Length: 23\r\n\r\n<html>Sign in...</html>"
GOOD = {"token_type": "Bearer", "expires_in": 86399, "access_token": jwt(aud="x")}
UNKNOWN = {"error": "unauthorized_client", "error_description": "AADSTS700016: No.", "error_codes": [700016]}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Site:
    """The objects that a fault may change."""

    authority: FaultyAuthority
    pod: Pod
    proxy: FakeForwardProxy


Act = Callable[[Site], None]


@dataclass(frozen=True)
class Fault:
    """One fault. `retry_after` is what the authority sends, in seconds."""

    name: str
    strike: Act
    retry_after: int | None = None
    through_proxy: bool = False
    needs_connection: bool = False
    """Whether the fault affects an idle connection, which must exist before."""

    def fix(self, site: Site) -> None:
        """End the fault."""
        site.proxy.treatment = tunnels
        site.proxy.released.set()
        site.authority.fix()
        write(site, jwt(sub="system:serviceaccount:default:default", jti="rotated"))


def behaving(name: str, behaviour: Behaviour, retry_after: int | None = None) -> Fault:
    """Return the fault of an authority that answers with `behaviour`."""

    def strike(site: Site) -> None:
        site.authority.behaviour = behaviour

    return Fault(name, strike, retry_after)


def saying(name: str, response: bytes, retry_after: int | None = None) -> Fault:
    """Return the fault of an authority that sends these bytes and closes the connection."""
    return behaving(name, lambda _: Last(response), retry_after)


def greeting(name: str, greet: Callable[[FaultyAuthority], Callable[..., bool]]) -> Fault:
    """Return the fault of an authority that treats new connections in this way."""

    def strike(site: Site) -> None:
        site.authority.greet = greet(site.authority)

    return Fault(name, strike)


def presenting(name: str, present: Callable[[FaultyAuthority], None]) -> Fault:
    """Return a fault of the authority's certificate."""
    return Fault(name, lambda site: present(site.authority))


def file_of(name: str, content: str | None) -> Fault:
    """Return the fault of a token file with this content, or of a missing one."""
    return Fault(name, lambda site: write(site, content))


def proxy_of(name: str, treat: Callable[[FakeForwardProxy], Callable[..., None]]) -> Fault:
    """Return the fault of a forward proxy that treats connections in this way."""

    def strike(site: Site) -> None:
        site.proxy.treatment = treat(site.proxy)

    return Fault(name, strike, through_proxy=True)


def write(site: Site, content: str | None) -> None:
    """Write a token file into the pod as the kubelet does: a new folder, and one rename of the link `..data`."""
    volume = site.pod.token_file.parent
    version = volume / f"..{time.monotonic_ns()}"
    version.mkdir()
    if content is not None:
        (version / site.pod.token_file.name).write_text(content)
    link = volume / "..data_tmp"
    link.symlink_to(version.name)
    link.rename(volume / "..data")
    _link(site.pod.token_file)


def _link(file: Path) -> None:
    if not file.is_symlink():
        file.unlink(missing_ok=True)
        file.symlink_to(os.path.join("..data", file.name))  # noqa: PTH118 -- a link's text, not a path from here


def in_order(
    name: str, behaviours: Callable[[FaultyAuthority], Sequence[Behaviour]], *, needs_connection: bool = False
) -> Fault:
    """Return the fault of an authority that behaves in each of these ways once, and in the last one indefinitely."""

    def strike(site: Site) -> None:
        site.authority.behaviour = in_turn(*behaviours(site.authority))

    return Fault(name, strike, needs_connection=needs_connection)


def _closes(_: Post) -> None:
    """Close the connection without an answer."""


def _slowly(post: Post) -> bytes:
    time.sleep(2.0)  # to be slow is what it is for
    return grants(post)


def _an_hour_ahead(_: Post) -> bytes:
    later = int(time.time()) + 3600
    return answer(200, {**GOOD, "access_token": jwt(aud="x", iat=later, nbf=later, exp=later + 86399)})


def _throttles_until(_: Post) -> bytes:
    return Last(answer(429, {}, f"Retry-After: {formatdate(time.time() + 6, usegmt=True)}"))


def _replace_ca(site: Site) -> None:
    site.authority.ca_file.write_bytes(new_authority(time.time()).certificate_pem)


def _spoil_ca(site: Site) -> None:
    site.authority.ca_file.write_bytes(b"-----BEGIN CERTIFICATE-----\n")


CONNECTION = (
    presenting("connection refused", FaultyAuthority.deafen),
    presenting("packets are dropped", FaultyAuthority.swallow),
    greeting("connections are reset", lambda _: reset),
    greeting("connections are accepted, then no response", lambda authority: authority.hang),
    greeting("the server does not use TLS", lambda _: speak_plainly),
    greeting("the TLS handshake is interrupted", lambda _: hang_up_on_hello),
    behaving("the connection is closed without an answer", _closes),
)
KEPT = (
    Fault("closed while idle", lambda site: site.authority.hang_up(), needs_connection=True),
    in_order("closed at the next request", lambda _: [_closes, grants], needs_connection=True),
    in_order("dead without being closed", lambda authority: [authority.hang_on, grants], needs_connection=True),
)
TLS = (
    presenting("the certificate has expired", lambda authority: authority.present_aged(500)),
    presenting("the certificate is not valid yet: a clock is wrong", lambda authority: authority.present_aged(-30)),
    presenting("the certificate is for another name", FaultyAuthority.present_another_name),
    presenting("the CA is unknown", lambda authority: authority.present_of(new_authority(time.time()))),
    presenting("the CA has expired", FaultyAuthority.let_authority_expire),
    Fault("`--authority-ca` was replaced by another CA", _replace_ca),
    Fault("`--authority-ca` is invalid", _spoil_ca),
)
TIME = (
    behaving("the response takes 2 seconds", _slowly),
    in_order("no response", lambda authority: [authority.hang_on]),
    behaving("no body after the response head", lambda _: HEAD + b"Content-Length: 99\r\n\r\n{"),
    behaving("three bytes per second", lambda _: Drip(HEAD + b"X-Endless: " + b"x" * 60)),
    in_order("a transient refusal, then no response", lambda authority: [refuses(401, 700213), authority.hang_on]),
    behaving("Entra's clock is an hour ahead", _an_hour_ahead),
)
STATUS = (
    saying("429, Retry-After: 7", answer(429, {"error": "throttled"}, "Retry-After: 7"), retry_after=7),
    behaving("429, Retry-After with a date", _throttles_until, retry_after=6),
    saying("429 without Retry-After", answer(429, {})),
    saying("500", answer(500, {})),
    saying("502 in HTML", HTML % 502),
    saying("503, Retry-After: 5", answer(503, {}, "Retry-After: 5"), retry_after=5),
    saying(
        "503 without Retry-After",
        answer(503, {"error": "temporarily_unavailable", "error_description": "AADSTS90033: Later."}),
    ),
    saying("504 without a body", b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"),
    saying("404 in HTML", HTML % 404),
    saying("403 in HTML", HTML % 403),
    saying("a redirect", answer(307, {}, "Location: https://127.0.0.1:1/")),
)
CONTENT = (
    saying("200, no body", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    saying("200 in HTML: a captive portal", HTML % 200),
    saying("200, invalid JSON", HEAD + b'Content-Length: 12\r\n\r\n{"access_tok'),
    saying("200, JSON without a token", answer(200, {"token_type": "Bearer", "expires_in": 3600})),
    saying("200, a token with a lifetime of 0", answer(200, {**GOOD, "expires_in": 0})),
    saying("200, truncated", HEAD + b'Content-Length: 999\r\n\r\n{"access_token":"e'),
    saying("200, invalid chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    saying("200, invalid gzip", answer(200, GOOD, "Content-Encoding: gzip")),
    saying("200, four megabytes", answer(200, {"access_token": "x" * (1 << 22), "expires_in": 3600})),
)
ENTRA = (
    in_order("AADSTS700213, transient", lambda _: [refuses(401, 700213), grants]),
    behaving("AADSTS700213, permanent", refuses(401, 700213)),
    in_order("AADSTS70025, until the first credential has propagated", lambda _: [refuses(401, 70025), grants]),
    behaving("AADSTS70025, permanent: there is no federated credential", refuses(401, 70025)),
    behaving("AADSTS700024, the assertion has expired", refuses(401, 700024)),
    behaving("AADSTS700016, unknown identity", lambda _: answer(400, UNKNOWN)),
    behaving("AADSTS90033, transient, with status 400", lambda _: answer(400, {"error": "temporarily_unavailable"})),
)
ASSERTION = (
    file_of("the token file is missing", None),
    file_of("the token file is empty", ""),
    file_of("the token file is half written", jwt(sub="system:serviceaccount:default:default")[:30]),
    file_of("the token file is rotated", jwt(sub="system:serviceaccount:default:default", jti="next")),
)
PROXY = (
    proxy_of("the proxy requires credentials", lambda _: says(b"HTTP/1.1 407 Who\r\n\r\n")),
    proxy_of("the proxy refuses the host", lambda _: says(b"HTTP/1.1 403 No\r\n\r\n")),
    proxy_of("the proxy does not answer", lambda proxy: proxy.hang),
)
GROUPS = {
    "Connection": CONNECTION,
    "Persistent connection": KEPT,
    "TLS": TLS,
    "Time": TIME,
    "HTTP status": STATUS,
    "Response body": CONTENT,
    "Entra's errors": ENTRA,
    "Assertion": ASSERTION,
    "Forward proxy": PROXY,
}
FAULTS = [fault for group in GROUPS.values() for fault in group]
