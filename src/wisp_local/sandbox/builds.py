"""Builds what takes minutes with external tools, reports progress, and keeps the result in the user's cache.

Go programs are built with a progress that counts packages.
"""

import collections
import contextlib
import os
import re
import selectors
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
from wisp_local.sandbox.folders import draft_folder, move_into_place
from wisp_local.sandbox.processes import ProcessContext, spawn, stop_group
from wisp_local.sandbox.progress import Progress, to_stderr
from wisp_local.sandbox.signals import deferred

_TIMEOUT = 3600  # seconds; a cold package registry is slow
_ERROR_LINES = 20  # of a tool's output, in an error
_LINE_LENGTH = 150  # characters of progress; a tool may print long lines
_TICK = 1.0  # seconds without output after which the reader gets control
_PATIENCE = 5.0  # seconds for a tool to end after a signal
_CHUNK = 65536
_DOWNLOADING = "go: downloading "
_IMPORT_PATH = re.compile(r"[\w.~/+-]+")


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
            with running_tool(command, folder, variables, interrupted=lambda: self.progress.line(notice)) as process:
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
        for line in output_lines(process):
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


def must_have(tool: str, what: str, hint: str) -> None:
    """Raise ToolError if `tool`, which builds `what`, is not installed."""
    if shutil.which(tool) is None:
        raise ToolError(f"{what} cannot be built: there is no {tool} on PATH", hint=hint)


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


@contextlib.contextmanager
def running_tool(
    command: Sequence[str],
    folder: Path | None,
    environment: Mapping[str, str],
    *,
    interrupted: Callable[[], None] = lambda: None,
    patience: float = _PATIENCE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a tool whose output is read with `output_lines`. If the block raises, stop it with all that it started.

    It gets SIGINT, after `patience` seconds SIGTERM, and then SIGKILL. Ctrl-C in a terminal reaches only this process;
    `interrupted` is called then, before the tool is stopped. When the block is left, the tool has ended.
    Raise ToolError.
    """
    process = None
    try:
        with deferred():
            context = ProcessContext((), environment)
            process = spawn(context, *command, stderr=subprocess.STDOUT, folder=folder)
        yield process
        process.wait()
    except BaseException as error:
        if process is not None:
            with deferred():
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    interrupted()
                stop_group(process, patience)
        raise
    finally:
        if process is not None and process.stdout is not None:
            process.stdout.close()


def output_lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Return the lines that the tool prints until it closes its output; None about once a second without output."""
    assert process.stdout is not None  # noqa: S101 -- spawn makes the pipe
    descriptor, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_TICK):
                yield None
                continue
            chunk = os.read(descriptor, _CHUNK)
            *complete, rest = (rest + chunk).split(b"\n")
            for line in complete if chunk else [rest]:
                if text := line.decode(errors="replace").strip():
                    yield text
            if not chunk:
                return


class Listing:
    """A meter for `go list -deps`, which downloads modules and prints one package a line."""

    def __init__(self) -> None:
        self.packages = 0
        self._modules = 0

    def read(self, line: str) -> bool:
        """Count modules and packages."""
        if line.startswith(_DOWNLOADING):
            self._modules += 1
            return False
        if _IMPORT_PATH.fullmatch(line):
            self.packages += 1
            return False
        return True

    def state(self, elapsed: str) -> str:
        """Return what go is doing, and the number of modules that it had to download."""
        if self._modules:
            return f"downloading modules, {self._modules:,} so far, {elapsed}"
        return f"listing packages, {elapsed}"


class Compilation:
    """A meter for `go build -v`, which prints the import path of each package that is not in Go's build cache."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._compiled = 0

    def read(self, line: str) -> bool:
        """Count packages."""
        if _IMPORT_PATH.fullmatch(line):
            self._compiled += 1
            return False
        return not line.startswith(_DOWNLOADING)

    def state(self, elapsed: str) -> str:
        """Return the number of packages compiled. The total is a maximum: Go does not print what it has cached."""
        return f"{self._compiled:,} of at most {self._total:,} packages compiled, {elapsed}"


def go_build(
    builder: Builder, what: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]
) -> None:
    """Run `command`, `go build ... -o OUTPUT PACKAGE...` with any prefix, in the module's `folder`. Raise ToolError.

    It downloads modules first and counts the packages, so that progress has a total.
    """
    build, output = command.index("build"), command.index("-o")
    packages = command[output + 2 :]
    listing = Listing()
    list_command = [*command[:build], "list", "-deps", "-mod=readonly", *packages]
    builder.run(what, list_command, folder=folder, environment=environment, meter=listing)
    verbose = [*command[: build + 1], "-v", *command[build + 1 :]]
    builder.run(what, verbose, folder=folder, environment=environment, meter=Compilation(listing.packages))
