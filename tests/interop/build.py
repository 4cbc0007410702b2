"""Builds the client programs, once: `python -m tests.interop.build [CLIENT...]`.

They are cached in `~/.cache/wisp/interop/CLIENT-HASH`, where HASH is of the sources, the lock file and the commands. A
folder appears there complete or not at all, so several runs may build at the same time.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tests.interop.recipes import RECIPES, Recipe
from wisp.base.errors import ToolError
from wisp_local.sandbox import folders
from wisp_local.sandbox.builds import Builder, LastLine, Product, go_build
from wisp_local.sandbox.signals import deferred, run_program

_AT_ONCE = 2
_ONE_CORE = {"GOMAXPROCS": "1", "MAVEN_OPTS": "-XX:ActiveProcessorCount=1"}


class MissingToolError(ToolError):
    """A program that builds or starts a client is not installed."""


@dataclass(frozen=True)
class Built:
    """A client that can be started: the arguments of `command` are the mode and the resource."""

    folder: Path
    command: tuple[str, ...]


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of built clients and of the last results."""
    return folders.cache_folder(environ) / "interop"


def key(recipe: Recipe) -> str:
    """Return a hash of the sources, the pinned dependencies, the interpreter and the recipe."""
    digest = hashlib.sha256(repr((recipe.commands, recipe.keep, sys.version, sys.base_prefix)).encode())
    for path in recipe.sources:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(recipe.folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def build(recipe: Recipe, cache: Path, builder: Builder | None = None) -> Built:
    """Return the client, built now if it is not in `cache`. Raise ToolError."""
    builder = builder or Builder()
    product = Product(
        name=_name(recipe),
        reason="the interoperability tests run it against the sidecar",
        usual_duration="about 90 seconds for all clients, which are built two at a time",
        path=f"{recipe.name}-{key(recipe)}",
    )
    target = cache / product.path
    _check_tools(recipe, (recipe.start[0],) if target.exists() else recipe.tools)
    builder.obtain(product, cache, lambda draft: _make(recipe, draft, builder))
    return Built(target, _filled(recipe.start, here=target, folder=recipe.folder))


def build_all(
    names: Iterable[str], cache: Path, recipes: Mapping[str, Recipe] = RECIPES
) -> Mapping[str, Future[Built]]:
    """Build the clients, two at a time; a failure is in its future. Ctrl-C stops all of them."""
    builder, selected = Builder(), set(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            futures = {
                name: pool.submit(build, recipe, cache, builder) for name, recipe in recipes.items() if name in selected
            }
            # A signal that arrives just before a wait does not end it: wait for a second at a time.
            while wait(futures.values(), timeout=1).not_done:
                pass
        except BaseException:
            with deferred():
                builder.progress.line("Interrupted: stopping the builds of the clients and removing their files ...")
                builder.cancel()
                pool.shutdown(cancel_futures=True)
            raise
    return futures


def _check_tools(recipe: Recipe, needed: Iterable[str]) -> None:
    for tool in needed:
        if tool in recipe.tools and shutil.which(tool) is None:
            problem = f"the {recipe.name} client cannot be built or started: there is no {tool} on PATH"
            raise MissingToolError(problem, hint=f"install {recipe.tools[tool]}")


def _make(recipe: Recipe, draft: Path, builder: Builder) -> Path:
    """Run the recipe in `draft` and return the folder with the result."""
    work, result = draft / "work", draft / "kept"
    shutil.copytree(recipe.folder, work, ignore=shutil.ignore_patterns("__pycache__"))
    for number, command in enumerate(recipe.commands, 1):
        filled = _filled(command, here=result, folder=work)
        if command[:2] == ("go", "build"):
            go_build(builder, _name(recipe), filled, folder=work, environment=_ONE_CORE)
        else:
            meter = LastLine(f"step {number} of {len(recipe.commands)} ({_program(command)})")
            builder.run(_name(recipe), filled, folder=work, environment=_ONE_CORE, meter=meter)
    result.mkdir()
    for path in recipe.keep:
        (work / path).rename(result / Path(path).name)
    return result


def _name(recipe: Recipe) -> str:
    return f"the {recipe.name} client"


def _program(command: Sequence[str]) -> str:
    """Return the program that a command runs, such as npm, or pip for `python -m pip`."""
    return command[2] if command[1:2] == ("-m",) else command[0]


def _filled(command: Sequence[str], *, here: Path, folder: Path) -> tuple[str, ...]:
    """Fill in interpreter and folders. A tool is searched on this PATH, not on a client's."""
    first, *rest = (part.format(python=sys.executable, here=here, folder=folder) for part in command)
    return (shutil.which(first) or first, *rest)


def main(names: Sequence[str]) -> int:
    """Build the named clients, or all; return the exit status. Clients whose tools are missing are skipped."""
    unknown = set(names) - set(RECIPES)
    if unknown:
        sys.stderr.write(f"there is no client {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}\n")
        return 2
    start, failed = time.monotonic(), False
    for name, future in build_all(names or RECIPES, cache_folder()).items():
        try:
            sys.stdout.write(f"{name}: {future.result().folder}\n")
        except ToolError as error:
            failed = failed or not isinstance(error, MissingToolError)
            sys.stderr.write(f"{name}: {error}\n")
    sys.stdout.write(f"{time.monotonic() - start:.1f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(sys.argv[1:])))
