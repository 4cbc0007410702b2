"""A string that is masked when it is printed. Tokens, assertions and client secrets are always of this type."""


class Secret:
    """A secret string. repr, str and format return a mask, so that log lines and tracebacks cannot leak it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value. Call this only where the bytes are sent."""
        return self._value

    def sha256(self) -> str:
        """Return the SHA-256 of the value in lower-case hexadecimal digits."""
        return _sha256(self._value.encode())

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def _sha256(data: bytes) -> str:
    """Return a SHA-256, computed without OpenSSL if possible: hashlib loads it, which takes 4 MB in every pod."""
    for name in ("_sha2", "_sha256", "hashlib"):  # Python 3.12 and later, earlier, and built without its own hashes
        try:
            digest: str = __import__(name).sha256(data).hexdigest()
        except (ImportError, AttributeError):
            continue
        return digest
    raise NotImplementedError("this Python has no SHA-256")
