"""A sink of a watch that holds nothing: whatever changes, somebody is woken."""

from collections.abc import Callable, Iterable

from wisp.kubernetes.types import Metadata


class Trigger:
    """Call `wake` at every change."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def slim(self, metadata: Metadata) -> Metadata:
        """Return it as it is."""
        return metadata

    def replace(self, objects: Iterable[Metadata]) -> None:  # noqa: ARG002 -- the sink's signature
        """Wake."""
        self._wake()

    def put(self, metadata: Metadata) -> None:  # noqa: ARG002 -- the sink's signature
        """Wake."""
        self._wake()

    def drop(self, metadata: Metadata) -> None:  # noqa: ARG002 -- the sink's signature
        """Wake."""
        self._wake()
