"""Fixtures of the matrix: the clients and the routes of the selected tests, and their results."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TypeVar

import pytest

from tests.interop import document, modes, results, routes, token_proxy, wire
from tests.interop.build import Built, MissingToolError, build_all, cache_folder
from tests.interop.cells import TRANSIENT, Cell, Route, Row, Sidecar
from tests.interop.client_run import Answer, run_client, selector
from tests.interop.local_cloud import Authority
from tests.interop.recipes import TOKEN_PROXY
from tests.interop.routes import Setup
from tests.interop.runs import Runs
from tests.interop.token_proxy import Described
from tests.interop.wire import SentRequests
from tests.support.needs import NAMESPACES, Missing, MissingSkip, find_missing, need
from wisp_local.sandbox.processes import ProcessContext

Result = TypeVar("Result")
_NEEDED: Mapping[Route, tuple[str, ...]] = {
    Route.INTERCEPTION: (NAMESPACES, "ip", "nft", "nsenter", "setpriv"),
    Route.ENVIRONMENT: (),
}
_BUSY = 2  # runs at the same time that use the processor
_WAITING = 32  # runs at the same time that mostly wait for the next try


@pytest.fixture(name="cells", scope="session")
def _cells(request: pytest.FixtureRequest) -> list[Cell]:
    """Give the cells of the tests that were selected."""
    return [cell for item in request.session.items if isinstance(cell := _parameter(item, "cell"), Cell)]


@pytest.fixture(name="rows", scope="session")
def _rows(request: pytest.FixtureRequest) -> list[Row]:
    """Give the rows of the tests that were selected and look at requests or sources."""
    return [row for item in request.session.items if isinstance(row := _parameter(item, "row"), Row)]


def _parameter(item: pytest.Item, name: str) -> object:
    return item.callspec.params.get(name) if hasattr(item, "callspec") else None


@pytest.fixture(name="clients", scope="session")
def _clients(cells: list[Cell], rows: list[Row]) -> Mapping[str, Future[Built]]:
    """Build the clients that the selected tests run."""
    return build_all({row.client for row in (*rows, *(cell.row for cell in cells))}, cache_folder())


@pytest.fixture(name="setups", scope="session")
def _setups(
    cells: list[Cell], rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Route, Setup]]:
    """Set up the routes of the selected tests, as far as this machine allows it."""
    factories: Mapping[Route, Callable[..., contextlib.AbstractContextManager[Setup]]] = {
        Route.INTERCEPTION: routes.by_interception,
        Route.ENVIRONMENT: routes.by_environment,
    }
    needed = {row.route for row in (*rows, *(cell.row for cell in cells))}
    with contextlib.ExitStack() as stack:
        yield {
            route: stack.enter_context(factory(tmp_path_factory.mktemp(route.value)))
            for route, factory in factories.items()
            if route in needed and not find_missing(*_NEEDED[route])
        }


@pytest.fixture(name="authorities", scope="session")
def _authorities(setups: Mapping[Route, Setup]) -> Mapping[Route, Authority]:
    """Give the authorities by route."""
    return {route: setup.authority for route, setup in setups.items()}


@pytest.fixture(name="matrix", scope="session")
def _matrix(
    cells: list[Cell], clients: Mapping[str, Future[Built]], setups: Mapping[Route, Setup]
) -> Iterator[Callable[[Cell], Answer]]:
    """Run the selected cells, and save their answers for the table."""

    def run(place: ProcessContext, cell: Cell) -> Answer:
        setup = setups[cell.row.route]
        variables = {**selector(cell.case, setup.authority), **setup.client_variables}
        return run_client(clients[cell.row.client].result(), cell.row, place, variables)

    shared: dict[tuple[Route, Sidecar], ProcessContext] = {}

    def run_shared(cell: Cell) -> Answer:
        return run(shared[cell.row.route, cell.case.sidecar], cell)

    def run_alone(cell: Cell) -> Answer:
        with setups[cell.row.route].sidecar(cell.case.sidecar) as place:
            return run(place, cell)

    possible = [cell for cell in cells if cell.row.route in setups]
    with contextlib.ExitStack() as stack:
        for route, setup in setups.items():
            shared |= {(route, kind): stack.enter_context(setup.sidecar(kind)) for kind in Sidecar}
        busy = stack.enter_context(Runs(run_shared, _BUSY))
        # Their answers depend on earlier requests to the sidecar, so every run has a sidecar of its own.
        waiting = stack.enter_context(Runs(run_alone, _WAITING))
        waiting.start(cell for cell in possible if cell.case in TRANSIENT)
        busy.start(cell for cell in possible if cell.case not in TRANSIENT)
        yield lambda cell: (waiting if cell.case in TRANSIENT else busy).result(cell)
        results.save_answers({**busy.results(), **waiting.results()})


@pytest.fixture(name="sent", scope="session")
def _sent(
    rows: list[Row], clients: Mapping[str, Future[Built]], setups: Mapping[Route, Setup]
) -> Iterator[Callable[[Row], SentRequests]]:
    """Record the requests of the selected clients, and save them for the document."""

    def record(row: Row) -> SentRequests:
        return wire.record(row, clients[row.client].result(), setups[row.route])

    yield from _row_results("sent", record, _by_sidecar(rows, setups))


@pytest.fixture(name="sources", scope="session")
def _sources(
    rows: list[Row], clients: Mapping[str, Future[Built]], setups: Mapping[Route, Setup]
) -> Iterator[Callable[[Row], str]]:
    """Find the sources of the selected clients' tokens, and save them for the document."""

    def find(row: Row) -> str:
        return modes.find_source(row, clients[row.client].result(), setups[row.route])

    yield from _row_results("sources", find, _by_sidecar(rows, setups))


def _by_sidecar(rows: list[Row], setups: Mapping[Route, Setup]) -> list[Row]:
    return [row for row in rows if row.route in setups and row.mode != TOKEN_PROXY]


@pytest.fixture(name="proxied", scope="session")
def _proxied(rows: list[Row], clients: Mapping[str, Future[Built]]) -> Iterator[Callable[[Row], Described]]:
    """Record the requests of the selected clients to a token proxy, and save them for the document."""

    def describe(row: Row) -> Described:
        return token_proxy.describe(row, clients[row.client].result())

    yield from _row_results("proxied", describe, [row for row in rows if row.mode == TOKEN_PROXY])


def _row_results(name: str, do: Callable[[Row], Result], rows: list[Row]) -> Iterator[Callable[[Row], Result]]:
    """Call `do` for all rows; give the function that waits for a result, and save all results in the end."""
    with Runs(do, _BUSY) as runs:
        runs.start(rows)
        yield runs.result
        results.save_rows(name, runs.results())


@pytest.fixture(name="possible")
def _possible(request: pytest.FixtureRequest, clients: Mapping[str, Future[Built]]) -> None:
    """Skip a test that this machine cannot run, with the reason."""
    parameters = request.node.callspec.params
    row: Row = parameters["row"] if "row" in parameters else parameters["cell"].row
    need(*_NEEDED[row.route])
    error = clients[row.client].exception()
    if isinstance(error, MissingToolError):
        raise MissingSkip(Missing(f"the tools of the {row.client} client", str(error)))


@pytest.fixture(name="compatibility", scope="session")
def _compatibility() -> str:
    """Give the text of the document."""
    return document.PATH.read_text(encoding="utf-8")
