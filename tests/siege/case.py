"""A case: the attackers, their script, the defence, and the answers that the attackers may get."""

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from tests.siege.attacker import AttackRun

ANYONE = "anyone"
"""Any client that reaches the port."""
POD_AUTHOR = "a pod's author"
"""Someone who may create pods: an API server sends what they wrote."""
WORKLOAD = "a workload"
"""Any process of the pod."""
CALLER = "a caller"
"""A workload with a valid service account token for the gateway."""
CUT = frozenset({"closed", "408", "503", "429"})
"""How a connection ends that is not given what it waits for."""


class Case(NamedTuple):
    """An attack in one sentence, its defence in another, and its script."""

    sender: str
    sentence: str
    defence: str
    attack: Callable[[AttackRun], Awaitable[None]]
    answers: frozenset[str] = frozenset()
    """Outcomes (`attacker.outcome_of`) of which at least one has to be seen: the answers that attackers wait for."""
    tolerated: frozenset[str] = CUT
    """Outcomes that may be seen besides."""
    around: Callable[[Any], AbstractContextManager[None]] = contextlib.nullcontext
    """Faults during the attack, and what must be true of the target afterwards."""
