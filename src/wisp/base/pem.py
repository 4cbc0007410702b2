"""Certificates in PEM text (RFC 7468), found without parsing them."""

from wisp.base.constants import PEM_BEGIN, PEM_END

_BEGIN, _END = PEM_BEGIN.encode(), PEM_END.encode()


def pem_blocks(text: bytes) -> list[bytes]:
    """Split PEM text into certificates, whether or not they can be parsed. Whatever else is in the text is dropped."""
    found = (block.rpartition(_BEGIN) for block in text.split(_END)[:-1])
    return [begin + body + _END for _, begin, body in found if begin]


def only_certificates(text: str) -> str:
    """Return the certificates in PEM text without comments, keys and other blocks; nothing if there is none."""
    return b"".join(block + b"\n" for block in pem_blocks(text.encode(errors="replace"))).decode()
