"""Repeat what a client sent, in a refusal. Pure."""

from wisp.base.masking import masked

_LIMIT = 100
"""Characters of the client's text."""


def quotable(text: str | bytes) -> str:
    """Return the beginning of `text` without tokens and without characters that are not printable."""
    if isinstance(text, bytes):
        text = text[: 2 * _LIMIT].decode("latin-1")
    text = masked(text[:_LIMIT], cut=len(text) > _LIMIT)
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
