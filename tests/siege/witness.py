"""Genuine traffic during an attack: what clients and the kubelet do all the time, and every failure of it."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

_PAUSE = 0.02
"""Seconds between two acts of one kind."""
_MOST_TOLD = 5


class Act(NamedTuple):
    """An action of a genuine client; `perform` raises an exception if it fails."""

    kind: str
    perform: Callable[[], None]


class Witness:
    """Performs each act again and again, each in a thread of its own."""

    def __init__(self, acts: Sequence[Act]) -> None:
        self.succeeded: Counter[str] = Counter()
        self.failures: list[str] = []
        self._acts = acts
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, args=(act,), daemon=True) for act in acts]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the running acts, which have to succeed too."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def has_seen(self, since: Counter[str], rounds: int) -> bool:
        """Return whether each act succeeded `rounds` times more than `since`, or one failed."""
        return bool(self.failures) or all(self.succeeded[act.kind] >= since[act.kind] + rounds for act in self._acts)

    def _go_on(self, act: Act) -> None:
        while not self._over.wait(_PAUSE):
            try:
                act.perform()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the genuine client was not served
                if len(self.failures) < _MOST_TOLD:
                    self.failures.append(f"{act.kind}: {type(error).__name__}: {error}")
            else:
                self.succeeded[act.kind] += 1


@contextmanager
def witnessing(acts: Sequence[Act]) -> Iterator[Witness]:
    """Perform the acts until the block ends."""
    witness = Witness(acts)
    witness.start()
    with contextlib.ExitStack() as stack:
        stack.callback(witness.stop)
        yield witness
