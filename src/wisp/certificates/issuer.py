"""Issue and inspect certificates in another process, which is started for each question and ends with its answer.

That happens a few times a year. In the server's own process, loading cryptography would take 10 MB permanently. Keys
pass between the processes through pipes only.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from wisp.base.isolation import child_environment, isolated_python
from wisp.base.secret import Secret
from wisp.certificates.decision import Broken, CertificateSet, Inspected

_COMMAND = isolated_python("wisp.certificates.issuer_process", msgspec)  # where cryptography is installed, too
_TIMEOUT = 60.0
_MESSAGE_LIMIT = 500
"""Characters of the process's last line of output that are logged."""


class Subject(NamedTuple):
    """Whom certificates are issued for. The CAs are called `common_name` with " CA" and a suffix."""

    common_name: str
    hosts: tuple[str, ...]

    @property
    def authority(self) -> str:
        """The beginning of the CAs' common name."""
        return f"{self.common_name} CA"


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Inspect a set: `Inspected` or `Broken`."""

    certificates: CertificateSet


class ReadExpiry(msgspec.Struct, frozen=True, tag=True):
    """Return when the first certificate of `chain` (PEM) expires, in Unix seconds, or `Broken`."""

    chain: bytes


class IssueAll(msgspec.Struct, frozen=True, tag=True):
    """Make a CA and a certificate; the CAs in `trusted` (PEM) stay in the bundle.

    The CA of `predecessor` certifies the new one, for clients that know only the old bundle.
    """

    subject: Subject
    now: float
    authority_seconds: float
    certificate_seconds: float
    trusted: tuple[bytes, ...] = ()
    predecessor: CertificateSet | None = None


class Adopt(msgspec.Struct, frozen=True, tag=True):
    """Append those CAs in `trusted` (PEM) to the bundle that have the subject's name for CAs."""

    certificates: CertificateSet
    subject: Subject
    trusted: tuple[bytes, ...]
    now: float


class IssueAuthority(msgspec.Struct, frozen=True, tag=True):
    """Put a new CA before those in the bundle; the certificate stays.

    The old CA certifies the new one: this certificate follows the server's in the chain, also when that is renewed.
    """

    certificates: CertificateSet
    subject: Subject
    now: float
    seconds: float


class IssueCertificate(msgspec.Struct, frozen=True, tag=True):
    """Issue a new certificate with the key of the first CA; CAs that have expired leave the bundle."""

    certificates: CertificateSet
    subject: Subject
    now: float
    seconds: float


IssueRequest: TypeAlias = IssueAll | Adopt | IssueAuthority | IssueCertificate
Question: TypeAlias = Inspect | ReadExpiry | IssueRequest


class CertificateIssuer(Protocol):
    """What issues and inspects certificates. All methods raise IssuerError if there is no answer."""

    async def inspect(self, certificates: CertificateSet) -> Inspected | Broken:
        """Return whether certificates and keys belong together, and what is in the certificates."""

    async def issue(self, request: IssueRequest) -> CertificateSet:
        """Return a changed set, or a new one."""


class IssuerError(Exception):
    """The issuing process did not answer, or what was asked about cannot be used; the text says which."""


class IssuerProcess:
    """A CertificateIssuer that starts a process for each question."""

    def __init__(self, command: Sequence[str] = _COMMAND, timeout: float = _TIMEOUT) -> None:
        self._command = command
        self._timeout = timeout

    async def inspect(self, certificates: CertificateSet) -> Inspected | Broken:
        """Return whether certificates and keys belong together, and what is in the certificates."""
        found: Inspected | Broken = decode(await self._ask(Inspect(certificates)), Inspected | Broken)
        return found

    async def issue(self, request: IssueRequest) -> CertificateSet:
        """Return a changed set, or a new one."""
        issued: CertificateSet = decode(await self._ask(request), CertificateSet)
        return issued

    async def expiry(self, chain: bytes) -> float:
        """Return when the first certificate of `chain` (PEM) expires, in Unix seconds. Raise IssuerError."""
        found: float | Broken = decode(await self._ask(ReadExpiry(chain)), float | Broken)
        if isinstance(found, Broken):
            raise IssuerError(found.reason)
        return found

    async def _ask(self, question: Question) -> bytes:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, env=child_environment(), stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise IssuerError(f"the issuing process cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout):
                out, err = await process.communicate(encode(question))
        except TimeoutError:
            raise IssuerError(f"the issuing process did not answer in {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            last = err.decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
            raise IssuerError(f"the issuing process failed: {last[0][:_MESSAGE_LIMIT]}")
        return out


def encode(message: object) -> bytes:
    """Encode a question or an answer as JSON, keys included: for a pipe between wisp's own processes only."""
    return msgspec.json.encode(message, enc_hook=Secret.reveal)


def decode(data: bytes, kind: Any) -> Any:
    """Decode what `encode` wrote, as a type or a union of types."""
    return msgspec.json.decode(data, type=kind, dec_hook=lambda kind, value: kind(value))
