"""Builds what takes minutes with external tools, reports progress, and keeps the result in the user's cache."""

import collections
import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wisp.base.errors import ToolError
from wisp_local.sandbox.progress import Progress, to_stderr
from wisp_local.sandbox.signals import deferred
from wisp_local.sandbox.tools import lines, started

_TIMEOUT = 3600  # seconds; a cold package registry is slow
_ERROR_LINES = 20  # of a tool's output, in an error
_LINE_LENGTH = 150  # characters of progress; a tool may print long lines


@dataclass(frozen=True)
class Product:
    """Something that takes minutes to build and is cached. The texts are those of the announcement.

    `reason` says what needs it, `usual_duration` how long a build takes. `path` is relative to the cache folder.
    `tools` are the programs that have to be on PATH, each with a hint how to install it. After `max_age` seconds it is
    built again.
    """

    name: str
    reason: str
    usual_duration: str
    path: str
    tools: Mapping[str, str] = field(default_factory=dict)
    max_age: float | None = None


class Meter(Protocol):
    """Derives the progress of a tool from its output."""

    def read(self, line: str) -> bool:
        """Read one line; return False if it shows progress only and does not help to understand a failure."""

    def state(self, elapsed: str) -> str:
        """Return the progress to show, with the time `elapsed`."""


class LastLine:
    """A meter for tools that do not say how much is left: shows the `step` and the last line of output."""

    def __init__(self, step: str = "") -> None:
        self._step = step
        self._line = ""

    def read(self, line: str) -> bool:
        """Remember the line."""
        self._line = line
        return True

    def state(self, elapsed: str) -> str:
        """Return "step 1 of 2, 12 s: last line"."""
        prefix = f"{self._step}, {elapsed}" if self._step else elapsed
        return f"{prefix}: {self._line}" if self._line else prefix


class Builder:
    """Builds products and runs the tools for it, from one thread or several."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or to_stderr()
        self._cancelled = threading.Event()

    def obtain(self, product: Product, cache: Path, make: Callable[[Path], Path]) -> Path:
        """Return the product's file or folder, built now if it is not in the `cache`. Raise ToolError.

        `make` builds it in the draft folder that it is given and returns its path there. The product appears in the
        cache complete or not at all; the draft is removed however the build ends.
        """
        target = cache / product.path
        if _is_current(target, product.max_age):
            return target
        for tool, hint in product.tools.items():
            must_have(tool, product.name, hint)
        self.progress.line(_announcement(product, target))
        with self.progress.operation(product.name), draft_folder(cache, ".build-") as draft:
            move_into_place(make(draft), target)
            self.progress.line(f"Built {product.name} in {self.progress.elapsed(product.name)}.")
        return target

    def run(
        self,
        what: str,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Run a tool that builds `what`, in `folder` and with additional `environment` variables.

        Its temporary files are removed afterwards. Raise ToolError with the last lines of its output.
        """
        self._check_cancelled(what)
        output = collections.deque[str](maxlen=_ERROR_LINES)
        with self.progress.operation(what), draft_folder(Path(tempfile.gettempdir())) as temporary:
            variables = {**os.environ, **(environment or {}), "TMPDIR": str(temporary)}
            notice = f"Interrupted: stopping the build of {what} and removing its files ..."
            with started(command, folder, variables, interrupted=lambda: self.progress.line(notice)) as process:
                self._follow(what, process, meter or LastLine(), output)
        if process.returncode != 0:
            problem = "\n".join([f"building {what} failed ({' '.join(command)}):", *output])
            raise ToolError(problem, hint="fix what the tool reports, then run the command again")

    def cancel(self) -> None:
        """Stop the tools that other threads are running, and let no other start."""
        self._cancelled.set()

    def _follow(
        self, what: str, process: subprocess.Popen[bytes], meter: Meter, output: collections.deque[str]
    ) -> None:
        """Read the tool's output to its end, and report progress."""
        end = time.monotonic() + _TIMEOUT
        for line in lines(process):
            if line is not None and meter.read(line):
                output.append(line)
            self.progress.update(what, meter.state(self.progress.elapsed(what))[:_LINE_LENGTH])
            self._check_cancelled(what)
            if time.monotonic() > end:
                problem = f"building {what} took longer than {_TIMEOUT} s"
                raise ToolError(problem, hint="check that the package registry responds")

    def _check_cancelled(self, what: str) -> None:
        if self._cancelled.is_set():
            raise ToolError(f"building {what} was cancelled", hint="run the command again")


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what takes long to build (XDG Base Directory Specification)."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wisp"


def must_have(tool: str, what: str, hint: str) -> None:
    """Raise ToolError if `tool`, which builds `what`, is not installed."""
    if shutil.which(tool) is None:
        raise ToolError(f"{what} cannot be built: there is no {tool} on PATH", hint=hint)


@contextlib.contextmanager
def draft_folder(parent: Path, prefix: str = "wisp-build-") -> Iterator[Path]:
    """Give a folder in `parent`, removed with all its content when the block is left, however that happens."""
    parent.mkdir(parents=True, exist_ok=True)
    draft = None
    try:
        with deferred():
            draft = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
        yield Path(draft.name)
    finally:
        if draft is not None:
            with deferred():
                draft.cleanup()


def move_into_place(made: Path, target: Path) -> None:
    """Rename the file or folder `made` to `target`, on the same file system. A folder that is there already stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.replace(target)
    except OSError:  # another run was faster, and has built the same
        if not target.is_dir():
            raise


def _is_current(target: Path, max_age: float | None) -> bool:
    return target.exists() and (max_age is None or target.stat().st_mtime > time.time() - max_age)


def _announcement(product: Product, target: Path) -> str:
    """Return the lines that are printed before a build."""
    rebuilt = "built once" if product.max_age is None else f"built again after {product.max_age // 86400:g} days"
    return "\n".join(
        (
            f"Building {product.name} ...",
            f"  needed for  {product.reason}",
            f"  duration    {product.usual_duration}",
            f"  cached in   {target} ({rebuilt})",
        )
    )
