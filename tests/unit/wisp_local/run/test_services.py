"""The assertion is renewed, because Entra accepts none that is valid for more than a day."""

import pytest

from wisp.base.errors import WispError
from wisp_local.run.services import Renewal


def test_renewal_runs_when_due_and_again_after_a_failure() -> None:
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
