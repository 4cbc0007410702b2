"""Whose federated credentials are being written right now: Azure lets one request at a time do that to an identity."""

import contextlib
import threading
from collections.abc import Generator

from wisp.cloud.arm.problem import concurrent_credential_writes


class OneAtATime:
    """Resource ids that one request holds each."""

    def __init__(self) -> None:
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
            yield
        finally:
            with self._guard:
                self._held.discard(key)
