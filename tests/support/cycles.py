"""What only the collector of cycles would free, counted: the sidecar is to leave nothing to it."""

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def counting_cycles() -> Generator[Callable[[], int]]:
    """Switch the collector off until the block ends; give what collects and says how many objects it found.

    All that is there already is set aside first: to look through it again each time would take longer than the test.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()
        gc.unfreeze()
