"""Counts objects that only the cyclic garbage collector would free: the sidecar must create none."""

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def counting_cycles() -> Generator[Callable[[], int]]:
    """Switch the collector off until the block ends; yield a function that collects and returns the number of objects.

    Existing objects are frozen first: examining them at every collection would take longer than the test.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()
        gc.unfreeze()
