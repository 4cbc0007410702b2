"""Read the assertion: the service account token that kubelet projects into the pod and rotates.

A file that cannot hold one is reported as such. Expiry is not checked: the pod's clock does not count, and Entra's
AADSTS700024 explains it better.
"""

import os
import stat

from wisp.base.secret import Secret
from wisp.entra.messages import Refused, unavailable

_SIZE_LIMIT = 64 * 1024
_JWT_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def read_assertion(path: str) -> Secret | Refused:
    """Return the token in the file at `path`, or a refusal that says what is wrong with the file."""
    try:
        text = _read(path)
    except OSError as error:
        return _refused(path, (error.strerror or "cannot be read").lower())
    except ValueError as error:
        return _refused(path, str(error))
    if not text:
        return _refused(path, "it is empty")
    if text.count(".") != 2 or not _JWT_CHARACTERS.issuperset(text) or "" in text.split("."):
        return _refused(path, "it holds no JWT")
    return Secret(text)


def _read(path: str) -> str:
    """Return the file's text, stripped. Raise OSError, or ValueError with a reason."""
    # Non-blocking, so that a FIFO in its place cannot hang the process.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        data = os.read(descriptor, _SIZE_LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(data) > _SIZE_LIMIT:
        raise ValueError(f"it is larger than {_SIZE_LIMIT} bytes")
    try:
        return data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ValueError("it holds no JWT") from None


def _refused(path: str, why: str) -> Refused:
    return unavailable(
        f"The service account token file {path} (AZURE_FEDERATED_TOKEN_FILE) cannot be used: {why}; "
        "check the pod's projected volume azure-workload-identity-reserved and that this user may read it",
        cause="token_file",
        retry_after=2.0,
    )
