"""Files that the exchange process reads again when they change: the assertion, and the authorities to trust.

The assertion is the service account token that kubelet projects into the pod and rotates. A file that cannot hold one
is reported as such. Expiry is not checked: the pod's clock does not count, and AADSTS700024 explains it better.
"""

import os
import ssl
import stat
from pathlib import Path
from typing import NamedTuple, TypeAlias

from wisp.base.secret import Secret
from wisp.entra.messages import Refused, unavailable
from wisp.entra.settings import ExchangeSettings

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
        "check the projected volume of the pod's service account token, and that this user may read it",
        cause="token_file",
        retry_after=2.0,
    )


_Stamp: TypeAlias = tuple[int, int, int] | None


class TrustError(Exception):
    """A CA file cannot be used. The text names it, says why and what to do; workloads get it."""


class Anchors(NamedTuple):
    """Authorities to trust: those of a PEM file and of a PEM text, in addition to the system's unless `alone`."""

    file: str | None
    name: str = "--authority-ca"
    """The flag or variable that names the file."""
    data: str | None = None
    data_name: str = "WISP_AUTHORITY_CA_DATA"
    """The variable that holds the text."""
    alone: bool = False


def anchors_of(settings: ExchangeSettings) -> Anchors:
    """Return what to trust for the token endpoint: an identity binding's own authorities are the only ones."""
    token_proxy = settings.token_proxy
    if token_proxy is None or not (token_proxy.ca_file or token_proxy.ca_data):
        return authority_anchors(settings)
    names = ("AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA")
    return Anchors(token_proxy.ca_file, names[0], token_proxy.ca_data, names[1], alone=True)


def authority_anchors(settings: ExchangeSettings) -> Anchors:
    """Return what to trust for the authority, and for a forward proxy."""
    return Anchors(settings.authority_ca, data=settings.authority_ca_data)


class Trust:
    """A TLS context that trusts `anchors`. The system's are at SSL_CERT_FILE and SSL_CERT_DIR, or the defaults."""

    def __init__(self, anchors: Anchors) -> None:
        self._anchors = anchors
        self._context: ssl.SSLContext | None = None
        self._read: tuple[_Stamp, ...] = ()

    def context(self) -> ssl.SSLContext:
        """Return the context: the same one until a file changes. Raise TrustError if the anchors' file cannot be used.

        While the file is gone or empty, as during a rotation, the last good context is used, as in the Azure SDKs.
        """
        stamps = self._stamps()
        if self._context is not None and (stamps == self._read or self._is_between(stamps)):
            return self._context
        self._context = None
        self._context = self._loaded()
        self._read = stamps
        return self._context

    def _is_between(self, stamps: tuple[_Stamp, ...]) -> bool:
        return self._anchors.file is not None and stamps[0] is None

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if self._anchors.alone else ssl.create_default_context()
        file, name, data, data_name, _ = self._anchors
        if file is not None:
            _load(context, f"The file {file} ({name})", cafile=file)
        if data is not None:
            _load(context, data_name, cadata=data)
        return context

    def _stamps(self) -> tuple[_Stamp, ...]:
        """Return a value that changes when one of the files does."""
        paths = ssl.get_default_verify_paths()
        return tuple(_stamp(path) for path in (self._anchors.file, paths.cafile, paths.capath))


def _load(context: ssl.SSLContext, what: str, *, cafile: str | None = None, cadata: str | None = None) -> None:
    try:
        context.load_verify_locations(cafile, cadata=cadata)
    except (ssl.SSLError, ValueError):
        raise TrustError(f"{what} cannot be used: it holds no certificate in PEM form; fix it") from None
    except OSError as error:
        raise TrustError(f"{what} cannot be used: {(error.strerror or 'it cannot be read').lower()}; fix it") from None


def _stamp(path: str | None) -> _Stamp:
    """Return what identifies a version of a file; None if it is gone or empty."""
    try:
        status = None if path is None else Path(path).stat()
    except OSError:
        return None
    return None if status is None or not status.st_size else (status.st_mtime_ns, status.st_ino, status.st_size)
