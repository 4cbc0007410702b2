"""Sets up what the matrix needs: the clients, and the ways to a sidecar that the selected tests go."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

import pytest

from tests.interop import document, modes, results, routes, wire
from tests.interop.asking import Answer, ask, selector
from tests.interop.authority import Authority
from tests.interop.build import Built, MissingToolError, build_all, cache_folder
from tests.interop.cells import PASSING, Cell, Route, Row, Sidecar
from tests.interop.routes import Site
from tests.interop.runs import Runs
from tests.interop.wire import Sent
from tests.support.needs import NAMESPACES, Missing, MissingSkip, find_missing, need
from wisp_local.sandbox.processes import ProcessContext

_NEEDED: Mapping[Route, tuple[str, ...]] = {
    Route.INTERCEPTION: (NAMESPACES, "ip", "nft", "nsenter", "setpriv"),
    Route.ENVIRONMENT: (),
}
_BUSY = 2  # runs that use the processor
_PATIENT = 32  # runs that mostly wait for the next try


@pytest.fixture(name="cells", scope="session")
def _cells(request: pytest.FixtureRequest) -> list[Cell]:
    """Give the cells of the tests that were selected."""
    return [cell for item in request.session.items if isinstance(cell := _parameter(item, "cell"), Cell)]


@pytest.fixture(name="rows", scope="session")
def _rows(request: pytest.FixtureRequest) -> list[Row]:
    """Give the rows of the tests that were selected and look at what is sent."""
    return [row for item in request.session.items if isinstance(row := _parameter(item, "row"), Row)]


def _parameter(item: pytest.Item, name: str) -> object:
    return item.callspec.params.get(name) if hasattr(item, "callspec") else None


@pytest.fixture(name="clients", scope="session")
def _clients(cells: list[Cell], rows: list[Row]) -> Mapping[str, Future[Built]]:
    """Build the clients that the selected tests run."""
    return build_all({row.client for row in (*rows, *(cell.row for cell in cells))}, cache_folder())


@pytest.fixture(name="sites", scope="session")
def _sites(
    cells: list[Cell], rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Route, Site]]:
    """Set up the ways that the selected tests go, as far as this machine lets us."""
    ways: Mapping[Route, Callable[..., contextlib.AbstractContextManager[Site]]] = {
        Route.INTERCEPTION: routes.by_interception,
        Route.ENVIRONMENT: routes.by_environment,
    }
    wanted = {row.route for row in (*rows, *(cell.row for cell in cells))}
    with contextlib.ExitStack() as stack:
        yield {
            route: stack.enter_context(way(tmp_path_factory.mktemp(route.value)))
            for route, way in ways.items()
            if route in wanted and not find_missing(*_NEEDED[route])
        }


@pytest.fixture(name="authorities", scope="session")
def _authorities(sites: Mapping[Route, Site]) -> Mapping[Route, Authority]:
    """Give the authority of each way."""
    return {route: site.authority for route, site in sites.items()}


@pytest.fixture(name="matrix", scope="session")
def _matrix(
    cells: list[Cell], clients: Mapping[str, Future[Built]], sites: Mapping[Route, Site]
) -> Iterator[Callable[[Cell], Answer]]:
    """Run the selected cells; what came of them is kept for the table."""

    def run(place: ProcessContext, cell: Cell) -> Answer:
        site = sites[cell.row.route]
        told = {**selector(cell.case, site.authority), **site.surroundings}
        return ask(clients[cell.row.client].result(), cell.row, place, told)

    shared: dict[tuple[Route, Sidecar], ProcessContext] = {}

    def run_beside(cell: Cell) -> Answer:
        return run(shared[cell.row.route, cell.case.sidecar], cell)

    def run_alone(cell: Cell) -> Answer:
        with sites[cell.row.route].sidecar(cell.case.sidecar) as place:
            return run(place, cell)

    possible = [cell for cell in cells if cell.row.route in sites]
    with contextlib.ExitStack() as stack:
        for route, site in sites.items():
            shared |= {(route, kind): stack.enter_context(site.sidecar(kind)) for kind in Sidecar}
        busy = stack.enter_context(Runs(run_beside, _BUSY))
        # What these hear depends on what was asked of the sidecar before: each has its own.
        patient = stack.enter_context(Runs(run_alone, _PATIENT))
        patient.begin(cell for cell in possible if cell.case in PASSING)
        busy.begin(cell for cell in possible if cell.case not in PASSING)
        yield lambda cell: (patient if cell.case in PASSING else busy).result(cell)
        results.keep_answers({**busy.results(), **patient.results()})


@pytest.fixture(name="sent", scope="session")
def _sent(
    rows: list[Row], clients: Mapping[str, Future[Built]], sites: Mapping[Route, Site]
) -> Iterator[Callable[[Row], Sent]]:
    """Record what the selected clients send; it is kept for the document."""

    def record(row: Row) -> Sent:
        return wire.record(row, clients[row.client].result(), sites[row.route])

    with Runs(record, _BUSY) as runs:
        runs.begin(row for row in rows if row.route in sites)
        yield runs.result
        results.keep_sent(runs.results())


@pytest.fixture(name="sources", scope="session")
def _sources(
    rows: list[Row], clients: Mapping[str, Future[Built]], sites: Mapping[Route, Site]
) -> Iterator[Callable[[Row], str]]:
    """Find who gives the selected clients their token; it is kept for the document."""

    def find(row: Row) -> str:
        return modes.find_source(row, clients[row.client].result(), sites[row.route])

    with Runs(find, _BUSY) as runs:
        runs.begin(row for row in rows if row.route in sites)
        yield runs.result
        results.keep_sources(runs.results())


@pytest.fixture(name="possible")
def _possible(request: pytest.FixtureRequest, clients: Mapping[str, Future[Built]]) -> None:
    """Skip what this machine cannot run, saying why."""
    parameters = request.node.callspec.params
    row: Row = parameters["row"] if "row" in parameters else parameters["cell"].row
    need(*_NEEDED[row.route])
    error = clients[row.client].exception()
    if isinstance(error, MissingToolError):
        raise MissingSkip(Missing(f"what the {row.client} client is built or started with", str(error)))


@pytest.fixture(name="compatibility", scope="session")
def _compatibility() -> str:
    """Give the document."""
    return document.PATH.read_text(encoding="utf-8")
