"""Waits for something that happens in another process or thread; every test uses this helper.

No test asserts how long anything takes: a slow or busy machine must not fail one. Speed is what `bench/` measures.
"""

import asyncio
import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds before a test gives up. It only guards against hanging: what a test waits for takes far less."""


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str] = "the condition",
    *,
    pause: float = 0.01,
    patience: float = PATIENCE,
) -> None:
    """Return once `condition` holds; after `patience` seconds fail and say `what` did not happen."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(pause)


async def wait_until_async(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; meanwhile other tasks of the event loop run."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- there is no event that could be awaited
            await asyncio.sleep(0.001)
