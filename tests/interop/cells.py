"""The matrix: clients, routes and cases, with the expected results. Runs nothing."""

import enum
from dataclasses import dataclass

from tests.interop.recipes import RECIPES, TOKEN_PROXY, Recipe, Sdk


class Route(enum.Enum):
    """How a client's request reaches the sidecar."""

    INTERCEPTION = "interception"
    ENVIRONMENT = "environment"


class Sidecar(enum.Enum):
    """The kinds of sidecars."""

    HEALTHY = "healthy"
    NO_DEFAULT = "no default identity"
    NOT_FEDERATED = "default identity without federation"
    THROTTLED = "authority answers 429"
    UNAVAILABLE = "authority answers 503"


class Case(enum.Enum):
    """What a client asks for; the value is the heading of the column."""

    DEFAULT = "default"
    CLIENT_ID = "client id"
    OBJECT_ID = "object id"
    RESOURCE_ID = "resource id"
    UNKNOWN = "unknown identity"
    NO_DEFAULT = "no default identity"
    FEDERATION = "federation broken"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"

    @property
    def sidecar(self) -> Sidecar:
        """The kind of sidecar that is asked."""
        return _SIDECARS.get(self, Sidecar.HEALTHY)

    @property
    def reason(self) -> str | None:
        """The text that the client's error has to contain; None if it gets a token."""
        return _REASONS.get(self)


_SIDECARS = {
    Case.NO_DEFAULT: Sidecar.NO_DEFAULT,
    Case.FEDERATION: Sidecar.NOT_FEDERATED,
    Case.THROTTLED: Sidecar.THROTTLED,
    Case.UNAVAILABLE: Sidecar.UNAVAILABLE,
}
_REASONS = {
    Case.UNKNOWN: "AADSTS700016",
    Case.NO_DEFAULT: "Identity not found",
    Case.FEDERATION: "AADSTS700213",
    Case.THROTTLED: "AADSTS90055",
    Case.UNAVAILABLE: "AADSTS90033",
}
TOKENS = tuple(case for case in Case if case.reason is None)
ERRORS = tuple(case for case in Case if case.reason is not None)
TRANSIENT = (Case.THROTTLED, Case.UNAVAILABLE)
"""Transient faults: clients try again, so these take as long as their retries."""
PROGRAM_CASES = (Case.DEFAULT, Case.CLIENT_ID, Case.FEDERATION)
"""The cases of programs that use their token."""


@dataclass(frozen=True)
class Row:
    """A client in one of its modes, by one route."""

    client: str
    mode: str
    route: Route

    @property
    def recipe(self) -> Recipe:
        """How the client is built."""
        return RECIPES[self.client]

    @property
    def sdk(self) -> Sdk:
        """The SDK of the mode."""
        return self.recipe.sdks[self.mode]

    @property
    def cases(self) -> tuple[Case, ...]:
        """Its cases."""
        return PROGRAM_CASES if self.recipe.uses_token else tuple(Case)

    def __str__(self) -> str:
        """Return the test's id."""
        return f"{self.client}-{self.mode}-{self.route.value}"


@dataclass(frozen=True)
class Cell:
    """One program run."""

    row: Row
    case: Case

    def __str__(self) -> str:
        """Return the test's id."""
        return f"{self.row}-{self.case.value.replace(' ', '_')}"


def rows(route: Route) -> list[Row]:
    """Return every client and mode, in the order of the tables."""
    return [*sdks(route), *programs(route)]


def sdks(route: Route) -> list[Row]:
    """Return the rows of SDKs, whose client programs print their token's claims."""
    names = ("python", "az", "go", "node", "java", "rust", "dotnet")
    return [Row(name, mode, route) for name in names for mode in RECIPES[name].sdks if mode != TOKEN_PROXY]


def token_proxy_rows() -> list[Row]:
    """Return the rows of SDKs that can use the token proxy, which their variables name."""
    names = ("python", "go", "node", "java")
    return [Row(name, TOKEN_PROXY, Route.ENVIRONMENT) for name in names]


def programs(route: Route) -> list[Row]:
    """Return the rows of programs that use their token."""
    names = ("programs", "go-programs", "java-programs")
    return [Row(name, mode, route) for name in names for mode in RECIPES[name].sdks]


def cells(*cases: Case) -> list[Cell]:
    """Return all possible program runs for the cases."""
    every = (Cell(row, case) for route in Route for row in rows(route) for case in cases if case in row.cases)
    return [cell for cell in every if impossible_reason(cell) is None]


_NO_SUCH_OPTION = {
    ("python", "dac", Case.OBJECT_ID): "supports only a client ID",
    ("python", "dac", Case.RESOURCE_ID): "supports only a client ID",
    ("go", "dac", Case.OBJECT_ID): "supports only a client ID, from `AZURE_CLIENT_ID`",
    ("go", "dac", Case.RESOURCE_ID): "supports only a client ID, from `AZURE_CLIENT_ID`",
    ("go", "adal", Case.OBJECT_ID): "supports only a client ID or a resource ID",
    ("node", "dac", Case.OBJECT_ID): "supports only a client ID or a resource ID",
    ("java", "dac", Case.OBJECT_ID): "supports only a client ID or a resource ID",
    ("dotnet", "mi", Case.OBJECT_ID): "supports only a client ID, from `AZURE_CLIENT_ID`",
    ("dotnet", "mi", Case.RESOURCE_ID): "supports only a client ID, from `AZURE_CLIENT_ID`",
    ("dotnet", "prod", Case.OBJECT_ID): "supports only a client ID, from `AZURE_CLIENT_ID`",
    ("dotnet", "prod", Case.RESOURCE_ID): "supports only a client ID, from `AZURE_CLIENT_ID`",
}


def impossible_reason(cell: Cell) -> str | None:
    """Return why the cell is impossible, or None."""
    row = cell.row
    if (row.client, row.route, cell.case) == ("rust", Route.ENVIRONMENT, Case.RESOURCE_ID):
        return "refuses a resource ID if `IDENTITY_ENDPOINT` is set, without sending a request"
    return _NO_SUCH_OPTION.get((row.client, row.mode, cell.case))


_UNASSIGNED = (Case.UNKNOWN, Case.NO_DEFAULT)
_HIDDEN = {
    ("python", "msrestazure"): (set(Route), ERRORS, "raises an error without the text of the response"),
    ("java", "dac"): (
        {Route.INTERCEPTION},
        _UNASSIGNED,
        "interprets a 400 as a machine without managed identity and drops its text",
    ),
    ("rust", "mi"): (
        set(Route),
        _UNASSIGNED,
        "reports its own text for a 400: the identity has not been assigned",
    ),
    ("programs", "registry"): (set(Route), ERRORS, "looks for `access_token` in every response"),
    ("programs", "opendal"): (set(Route), ERRORS, "reports only that it has no credential"),
    ("programs", "pyarrow"): (set(Route), ERRORS, "ends the process with an uncaught C++ exception"),
}


def hidden_reason(cell: Cell) -> str | None:
    """Return why the client's error does not contain the sidecar's reason, or None if it has to."""
    routes, cases, reason = _HIDDEN.get((cell.row.client, cell.row.mode), (set(), (), ""))
    return reason if cell.row.route in routes and cell.case in cases else None
