"""Runs the clients, many at once, and remembers what came of them.

All runs are begun before the first result is wanted: what waits for its own retries waits beside all others.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

_Run = TypeVar("_Run", bound=Hashable)
_Result = TypeVar("_Result")


class Runs(Generic[_Run, _Result]):
    """Do runs by `do`, `at_once` of them; used as a context manager, which leaves nothing running."""

    def __init__(self, do: Callable[[_Run], _Result], at_once: int) -> None:
        self._do = do
        self._pool = ThreadPoolExecutor(at_once)
        self._results: dict[_Run, Future[_Result]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, runs: Iterable[_Run]) -> None:
        """Begin with the runs, in their order."""
        self._results |= {each: self._pool.submit(self._do, each) for each in runs}

    def result(self, run: _Run) -> _Result:
        """Wait for what came of the run; raises what went wrong with it."""
        return self._results[run].result()

    def results(self) -> Mapping[_Run, _Result]:
        """Return what came of the runs that are done; those that failed are left out."""
        done = {run: each for run, each in self._results.items() if each.done() and not each.cancelled()}
        return {run: each.result() for run, each in done.items() if each.exception() is None}
