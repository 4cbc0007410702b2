"""Asks the certificate process: starts it, gives it one question, reads one answer."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from wisp.base.isolation import child_environment, isolated_python
from wisp.webhook.certificates.certificate import Broken, Facts, Kept, Lives
from wisp.webhook.certificates.packing import facts_of, kept_of, pack_kept

_COMMAND = isolated_python("wisp.webhook.certificates.child", msgspec)  # cryptography is installed where msgspec is
_PATIENCE = 60.0
_LONGEST_WORDS = 500
"""Characters of what the certificate process said last that are logged."""


class UncertifiedError(Exception):
    """The certificate process did not answer; the text is its last words."""


class Certifier:
    """Certificates, made and examined by a process that ends with its answer."""

    def __init__(self, command: Sequence[str] = _COMMAND, patience: float = _PATIENCE) -> None:
        self._command = command
        self._patience = patience

    async def examine(self, kept: Kept) -> Facts | Broken:
        """Say what `kept` is."""
        return facts_of(await self._ask(question="examine", kept=pack_kept(kept)))

    async def make(self, names: Iterable[str], trusted: Iterable[bytes], *, now: float, lives: Lives) -> Kept:
        """Make an authority and a certificate for `names`; what `trusted` holds of authorities stays in the bundle."""
        packed = await self._ask(
            question="make",
            names=sorted(names),
            now=now,
            authority_seconds=lives.authority,
            leaf_seconds=lives.leaf,
            trusted=[bundle.decode("latin-1") for bundle in trusted],
        )
        return kept_of(packed)

    async def adopt(self, kept: Kept, trusted: Iterable[bytes], *, now: float) -> Kept:
        """Put into the bundle what `trusted` holds of our authorities."""
        bundles = [bundle.decode("latin-1") for bundle in trusted]
        return kept_of(await self._ask(question="adopt", kept=pack_kept(kept), trusted=bundles, now=now))

    async def announce(self, kept: Kept, *, now: float, lives: Lives) -> Kept:
        """Put a new authority into the bundle."""
        return kept_of(await self._ask(question="announce", kept=pack_kept(kept), now=now, seconds=lives.authority))

    async def renew(self, kept: Kept, names: Iterable[str], *, now: float, lives: Lives) -> Kept:
        """Issue a new certificate."""
        packed = await self._ask(
            question="renew", kept=pack_kept(kept), names=sorted(names), now=now, seconds=lives.leaf
        )
        return kept_of(packed)

    async def expiry(self, chain: bytes) -> float:
        """Return when the certificate ends, in Unix seconds. Raise UncertifiedError where it is none."""
        answer = await self._ask(question="expiry", chain=chain.decode("latin-1"))
        if "broken" in answer:
            raise UncertifiedError(answer["broken"])
        return float(answer["expires_at"])

    async def _ask(self, **question: Any) -> dict[str, Any]:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, env=child_environment(), stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise UncertifiedError(f"the certificate process cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._patience):
                out, err = await process.communicate(json.dumps(question).encode())
        except TimeoutError:
            raise UncertifiedError(f"the certificate process did not answer in {self._patience:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            last = err.decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
            raise UncertifiedError(f"the certificate process failed: {last[0][:_LONGEST_WORDS]}")
        answer: dict[str, Any] = json.loads(out)
        return answer
