"""Runs many clients at the same time, and collects the results.

All runs are started before the first result is needed, so that clients that wait for their retries wait together.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

_Run = TypeVar("_Run", bound=Hashable)
_Result = TypeVar("_Result")


class Runs(Generic[_Run, _Result]):
    """Calls `do` for every run, `at_once` of them at the same time. A context manager that leaves nothing running."""

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

    def start(self, runs: Iterable[_Run]) -> None:
        """Start the runs, in their order."""
        self._results |= {run: self._pool.submit(self._do, run) for run in runs}

    def result(self, run: _Run) -> _Result:
        """Wait for the result of the run, or raise its error."""
        return self._results[run].result()

    def results(self) -> Mapping[_Run, _Result]:
        """Return the results of the runs that have ended without an error."""
        done = {run: future for run, future in self._results.items() if future.done() and not future.cancelled()}
        return {run: future.result() for run, future in done.items() if future.exception() is None}
