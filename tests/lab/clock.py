"""A clock for tests: it shows what it is set to."""


class Clock:
    """Returns seconds, and advances by `step` whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        """Return the time."""
        self.now += self._step
        return self.now - self._step
