"""What a case is: who attacks with what, what stops it, and which answers the attacker may get."""

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from tests.siege.besieging import Front

ANYONE = "anyone"
"""Whoever reaches the port."""
POD_AUTHOR = "a pod's author"
"""Someone who may create pods: an API server sends what they wrote."""
WORKLOAD = "a workload"
"""Any process of the pod."""


class Case(NamedTuple):
    """An attack in one sentence, its defence in another, and its script."""

    sender: str
    sentence: str
    defence: str
    attack: Callable[[Front], Awaitable[None]]
    outcomes: frozenset[str]
    """What may become of the attacker's requests: an outcome of besieging.outcome_of, or "closed"."""
    must_occur: bool = False
    """Whether at least one of the outcomes has to be seen: an answer that the attacker waits for."""
    around: Callable[[Any], AbstractContextManager[None]] = contextlib.nullcontext
    """What else is wrong meanwhile, and what must be true of the target afterwards."""
