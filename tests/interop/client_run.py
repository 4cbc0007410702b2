"""Runs a client once and reads its output."""

import json
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.build import Built
from tests.interop.cells import Case, Row
from tests.interop.local_cloud import Authority
from wisp_local.sandbox.processes import ProcessContext, run

LIMIT = 240
"""Seconds after which a client is killed: twice the time of the slowest one."""

UNKNOWN_CLIENT_ID = "00000000-0000-4000-8000-00000000dead"
"""A client id without an identity."""


@dataclass(frozen=True)
class Answer:
    """The output of a client: a token's claims and expiry (Unix seconds), or the text of an error.

    The expiry is 0 if the program does not know it.
    """

    ok: bool
    seconds: tuple[float, ...]
    error: str = ""
    claims: Mapping[str, str] | None = None
    expires_on: int = 0
    token_sha256: str = ""
    rejected_sha256: str = ""
    """The hash of the previous token, after a challenge."""
    subscriptions: Sequence[Mapping[str, str]] = ()
    """The subscriptions that a client lists instead of describing its token."""

    @property
    def duration(self) -> float:
        """Seconds from the first request to the last answer."""
        return sum(self.seconds)


def parse_answer(output: str) -> Answer:
    """Read the one line of a client. Raise AssertionError with any other output."""
    lines = output.splitlines()
    assert len(lines) == 1, f"not one line: {output!r}"
    document: dict[str, Any] = json.loads(lines[0])
    seconds = tuple(float(value) for value in document["seconds"] or ())
    if not document["ok"]:
        return Answer(ok=False, seconds=seconds, error=document["error"])
    if "subscriptions" in document:
        return Answer(ok=True, seconds=seconds, subscriptions=document["subscriptions"])
    assert len(document["token_sha256"]) == 64, document
    claims = {name: document[name] for name in ("appid", "oid", "aud")}
    return Answer(
        ok=True,
        seconds=seconds,
        claims=claims,
        expires_on=document.get("expires_on", 0),
        token_sha256=document["token_sha256"],
        rejected_sha256=document.get("rejected_sha256", ""),
    )


def _signal(status: int) -> str:
    """Return the signal that ended a client, such as SIGABRT for an error that its library could not handle."""
    return signal.Signals(-status).name


def selector(case: Case, authority: Authority) -> Mapping[str, str]:
    """Return the variables that select the identity for a client."""
    match case:
        case Case.CLIENT_ID:
            return {"WISP_CLIENT_ID": authority.other.client_id}
        case Case.OBJECT_ID:
            return {"WISP_OBJECT_ID": authority.default.principal_id}
        case Case.RESOURCE_ID:
            return {"WISP_RESOURCE_ID": authority.default.resource_id}
        case Case.UNKNOWN:
            return {"WISP_CLIENT_ID": UNKNOWN_CLIENT_ID}
        case _:
            return {}


def run_client(client: Built, row: Row, place: ProcessContext, variables: Mapping[str, str], *flags: str) -> Answer:
    """Run the row's client in `place`, as any user, with a home of its own and more environment `variables`."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        environment = {"HOME": home, "TMPDIR": home, **variables}
        start = time.monotonic()
        done = run(
            place.with_variables(environment), *client.command, row.mode, row.sdk.resource, *flags, timeout=LIMIT
        )
    if done.status < 0:
        return Answer(ok=False, seconds=(time.monotonic() - start,), error=f"{_signal(done.status)}: {done.errors}")
    output = done.output.reveal()
    assert output, f"exit status {done.status}: {done.errors}"
    answer = parse_answer(output)
    assert done.status == (0 if answer.ok else 1), (done.status, answer)
    return answer
