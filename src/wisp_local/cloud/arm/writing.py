"""Whose federated credentials are being written right now: Azure lets one request at a time do that to an identity.

A write takes a moment, as on Azure. Here it would be over before another can meet it, and who writes two at once would
hear of it only on Azure.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator

from wisp_local.cloud.arm.problem import concurrent_credential_writes

WRITE_SECONDS = 0.1


class OneAtATime:
    """Resource ids that one request holds each, for `seconds` before it writes."""

    def __init__(self, seconds: float = 0, wait: Callable[[float], object] = time.sleep) -> None:
        self._seconds = seconds
        self._wait = wait
        self._held: set[str] = set()
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def on(self, resource_id: str) -> Generator[None]:
        """Hold `resource_id` for the block; raises `ResourceError` (409) when another request holds it."""
        key = resource_id.lower()
        with self._guard:
            if key in self._held:
                raise concurrent_credential_writes(key)
            self._held.add(key)
        try:
            if self._seconds:
                self._wait(self._seconds)
            yield
        finally:
            with self._guard:
                self._held.discard(key)
