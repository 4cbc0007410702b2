"""A string that does not show itself. Tokens, assertions and client secrets travel in this type and in no other."""


class Secret:
    """Hold `value`; repr, str and format give a mask, so that a log line or a traceback cannot leak it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself: call this where the bytes go on the wire and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)
