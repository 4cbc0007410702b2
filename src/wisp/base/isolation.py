"""Isolates processes that hold tokens or keys: from code that does not belong to them, and from core dumps."""

import os
import resource
import sys
from collections.abc import Mapping
from types import ModuleType

import wisp

_PR_SET_DUMPABLE = 4  # prctl(2)
_START = "import sys; sys.path += sys.argv[2:]; from runpy import run_module; run_module(sys.argv[1], None, '__main__')"


def isolated_python(module: str, *dependencies: ModuleType) -> tuple[str, ...]:
    """Return the command that runs a module of wisp isolated: no PYTHON* variable or working directory adds code.

    `-I` also ignores the folders of PYTHONPATH and of the user's packages, where wisp may be installed. So the folders
    of wisp and of `dependencies`, which this process has loaded, are added to the path. They come last: what is in
    them cannot take the place of a module of the standard library. https://docs.python.org/3/using/cmdline.html
    """
    files = (wisp.__file__, *(each.__file__ or "" for each in dependencies))
    folders = dict.fromkeys(os.path.dirname(os.path.dirname(file)) for file in files)  # noqa: PTH120 -- no pathlib in the sidecar
    return (sys.executable, "-I", "-c", _START, module, *folders)


def forbid_core_dumps() -> None:
    """Have the kernel write no core dump of this process, and no process but root's read its memory.

    The limit is inherited by children, the rest is not: execve resets it. A limit of 1 byte is too small for a core
    file and stops a `core_pattern` that is a pipe, which ignores 0 (fs/coredump.c in Linux).
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 1 if most else 0  # only root can raise it
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    try:
        import _ctypes  # noqa: PLC0415 -- ctypes itself would cost four times the memory
    except ImportError:  # a Python that was built without libffi; the limit holds
        return
    prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # None: this process
    _ctypes.call_function(prctl, (_PR_SET_DUMPABLE, 0, 0, 0, 0))


_CHILD_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
)
"""What child processes need: trust stores, how file names are encoded, and where interpreters that are installed apart
from the system find their libraries. The loader has applied LD_LIBRARY_PATH to this process already."""


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for the exchange and certificate processes: the variables that these need, and no others.

    Others can run code there (PYTHONPATH, LD_PRELOAD, OPENSSL_CONF) or write down keys (SSLKEYLOGFILE).
    """
    environ = os.environ if environ is None else environ
    return {name: environ[name] for name in _CHILD_VARIABLES if name in environ}
