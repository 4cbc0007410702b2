"""The assertion of a local run is renewed, because Entra takes none that is valid for more than a day."""

import os
import subprocess
from pathlib import Path

import jwt
import pytest

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.run.attendant import attend
from wisp_local.run.identity import RENEW_AFTER, federate, new_assertion
from wisp_local.run.messages import Ready
from wisp_local.run.options import LocalCloud
from wisp_local.run.services import Renewal, Services
from wisp_local.sandbox.sidecar import memory_file, rewrite


def _claims(assertion: Secret) -> dict[str, float]:
    return jwt.decode(assertion.reveal(), options={"verify_signature": False})


def test_the_assertion_of_a_run_lives_no_longer_than_entra_takes(tmp_path: Path) -> None:
    """A later one is of the same issuer and subject, and both outlive the time until the next."""
    state = tmp_path / "run.db"
    first = federate(state, LocalCloud(state, "app", None, 3600)).assertion
    second = new_assertion(state)
    for each in map(_claims, (first, second)):
        assert RENEW_AFTER < each["exp"] - each["iat"] <= 25 * 60 * 60
    assert [_claims(each)["sub"] for each in (first, second)] == [_claims(first)["sub"]] * 2
    assert _claims(first)["iss"] == _claims(second)["iss"]
    assert first.reveal() != second.reveal()


def test_it_is_renewed_when_its_time_has_come_and_again_after_a_failure() -> None:
    """Not before; a call that failed does not count."""
    clock, done, broken = [0.0], [], [True]

    def act() -> None:
        if broken[0]:
            raise WispError("the state is in use", hint="wait")
        done.append(clock[0])

    renew = Renewal(act, 10, lambda: clock[0])
    clock[0] = 9.9
    renew()
    clock[0] = 10
    with pytest.raises(WispError):
        renew()
    broken[0] = False
    clock[0] = 11
    renew()
    renew()
    clock[0] = 21
    renew()
    assert done == [11, 21]


@pytest.mark.parametrize("content", ["longer than before", "short"])
def test_a_file_in_memory_is_replaced_whole(content: str) -> None:
    """Nothing of what was there is left."""
    with memory_file("assertion", Secret("as before")) as descriptor:
        rewrite(descriptor, Secret(content))
        assert os.pread(descriptor, 100, 0).decode() == content


def test_the_attendant_renews_while_the_command_runs() -> None:
    """Here renewing is what ends the command, and so the attendance."""
    with subprocess.Popen(["sleep", "infinity"]) as command, Path(os.devnull).open("wb") as terminal:
        pidfd = os.pidfd_open(command.pid)
        try:
            attend(pidfd, terminal.fileno(), Services(Ready(1, "id", None), (), command.kill), interval=1)
        finally:
            os.close(pidfd)
            command.kill()
    assert command.returncode != 0
