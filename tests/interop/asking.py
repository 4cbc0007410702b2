"""Runs a client once and reads what it says of itself."""

import json
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.authority import Authority
from tests.interop.build import Built
from tests.interop.cells import Case, Row
from wisp_local.sandbox.processes import ProcessContext, run

LIMIT = 240
"""Seconds after which a client is killed: twice what the most patient one takes."""

NOBODY = "00000000-0000-4000-8000-00000000dead"
"""A client id that no identity has."""


@dataclass(frozen=True)
class Answer:
    """What a client printed: a token's claims and expiry (Unix seconds), or the text of an error.

    The expiry is 0 where the program does not tell it.
    """

    ok: bool
    seconds: tuple[float, ...]
    error: str = ""
    claims: Mapping[str, str] | None = None
    expires_on: int = 0
    token_sha256: str = ""
    rejected_sha256: str = ""
    """That of the token before, where the client was told to ask again with a challenge."""
    subscriptions: Sequence[Mapping[str, str]] = ()
    """What a client was told to list instead of describing its token."""

    @property
    def took(self) -> float:
        """Seconds from the first question to the last answer."""
        return sum(self.seconds)


def parse_answer(output: str) -> Answer:
    """Read a client's one line. Raise AssertionError with the output when it is no such line."""
    lines = output.splitlines()
    assert len(lines) == 1, f"not one line: {output!r}"
    said: dict[str, Any] = json.loads(lines[0])
    seconds = tuple(float(each) for each in said["seconds"] or ())
    if not said["ok"]:
        return Answer(ok=False, seconds=seconds, error=said["error"])
    if "subscriptions" in said:
        return Answer(ok=True, seconds=seconds, subscriptions=said["subscriptions"])
    assert len(said["token_sha256"]) == 64, said
    claims = {name: said[name] for name in ("appid", "oid", "aud")}
    return Answer(
        ok=True,
        seconds=seconds,
        claims=claims,
        expires_on=said.get("expires_on", 0),
        token_sha256=said["token_sha256"],
        rejected_sha256=said.get("rejected_sha256", ""),
    )


def _signal(status: int) -> str:
    """Name the signal that ended a client, such as SIGABRT for an error that its library could not handle."""
    return signal.Signals(-status).name


def selector(case: Case, asked: Authority) -> Mapping[str, str]:
    """Return the variables by which a client is told which identity to ask for."""
    match case:
        case Case.CLIENT_ID:
            return {"WISP_CLIENT_ID": asked.other.client_id}
        case Case.OBJECT_ID:
            return {"WISP_OBJECT_ID": asked.default.principal_id}
        case Case.RESOURCE_ID:
            return {"WISP_RESOURCE_ID": asked.default.resource_id}
        case Case.UNKNOWN:
            return {"WISP_CLIENT_ID": NOBODY}
        case _:
            return {}


def ask(client: Built, row: Row, place: ProcessContext, told: Mapping[str, str], *flags: str) -> Answer:
    """Run the row's client at `place`, as any user, with a home of its own; `told` are further variables."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        environment = {"HOME": home, "TMPDIR": home, **told}
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
