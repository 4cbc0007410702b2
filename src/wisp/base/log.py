"""What the webhook's parts say of what happens; the log itself is given to them."""

from typing import Protocol


class Log(Protocol):
    """Events of three levels, with fields. No field holds a token, a key or what is in a Secret."""

    def debug(self, event: str, **fields: object) -> None:
        """Say what is of use to whoever looks for a fault."""

    def info(self, event: str, **fields: object) -> None:
        """Say that something of note went as it should."""

    def warning(self, event: str, **fields: object) -> None:
        """Say that something failed which may pass, or concerns one request."""
