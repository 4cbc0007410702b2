"""Sets the scene on the plain machine: a private folder and two ports on loopback, all as one user."""

import contextlib
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from wisp_local.demo.scene import TOKEN_FILE, Scene
from wisp_local.sandbox.image import in_place, this_interpreter
from wisp_local.sandbox.modes import Attempt
from wisp_local.sandbox.processes import Place
from wisp_local.sandbox.users import ends_with_parent


@contextlib.contextmanager
def plain_scene(attempt: Attempt, folder: Path, environment: Mapping[str, str]) -> Iterator[Scene]:
    """Set the scene in the private `folder`, which is emptied afterwards; raises OSError."""
    image = in_place(this_interpreter())
    prefix = ends_with_parent() if shutil.which("setpriv", path=environment["PATH"]) else ()
    place = Place(prefix, {**environment, **image.environment, "HOME": str(folder), "TMPDIR": str(folder)})
    with _emptied(folder), reserved_port() as port:
        yield Scene(
            attempt=attempt,
            folder=folder,
            shared=folder,
            token_file=folder / TOKEN_FILE,
            python=image.python,
            node=place,
            sidecar=place,
            application=place,
            cloud=("127.0.0.1", 0),
            proxy_port=port,
            metadata=f"http://127.0.0.1:{port}",
        )


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # whoever made it may be gone by now


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a free port that a server can still listen on: both sockets allow it, and this one never listens."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
