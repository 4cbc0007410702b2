"""The matrix: which client asks for what, by which way, and what has to come of it; touches no machine."""

import enum
from dataclasses import dataclass

from tests.interop.recipes import RECIPES, Recipe, Sdk


class Route(enum.Enum):
    """How a client's request reaches the sidecar."""

    INTERCEPTION = "interception"
    ENVIRONMENT = "environment"


class Sidecar(enum.Enum):
    """The sidecars there are, by what is particular about them."""

    HEALTHY = "healthy"
    NO_DEFAULT = "no default identity"
    NOT_FEDERATED = "default identity without federation"
    THROTTLED = "authority answers 429"
    UNAVAILABLE = "authority answers 503"


class Case(enum.Enum):
    """What is asked for; the value is the heading of its column."""

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
        """Which sidecar is asked."""
        return _SIDECARS.get(self, Sidecar.HEALTHY)

    @property
    def reason(self) -> str | None:
        """What the client's error has to contain; None where a token is due."""
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
PASSING = (Case.THROTTLED, Case.UNAVAILABLE)
"""Faults that may pass: clients try again, so these take as long as their patience lasts."""
OF_PROGRAMS = (Case.DEFAULT, Case.CLIENT_ID, Case.FEDERATION)
"""What programs that use their token are run for."""


@dataclass(frozen=True)
class Row:
    """A client asked in one of its modes, by one way."""

    client: str
    mode: str
    route: Route

    @property
    def recipe(self) -> Recipe:
        """How the client is made."""
        return RECIPES[self.client]

    @property
    def sdk(self) -> Sdk:
        """What is asked."""
        return self.recipe.sdks[self.mode]

    @property
    def cases(self) -> tuple[Case, ...]:
        """What it is run for."""
        return OF_PROGRAMS if self.recipe.uses_token else tuple(Case)

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
    """Return the rows of SDKs, whose client programs print what they are given."""
    names = ("python", "az", "go", "node", "java", "rust", "dotnet")
    return [Row(name, mode, route) for name in names for mode in RECIPES[name].sdks]


def programs(route: Route) -> list[Row]:
    """Return the rows of programs that use their token."""
    names = ("programs", "go-programs", "java-programs")
    return [Row(name, mode, route) for name in names for mode in RECIPES[name].sdks]


def cells(*cases: Case) -> list[Cell]:
    """Return every program run for those cases that means anything."""
    every = (Cell(row, case) for route in Route for row in rows(route) for case in cases if case in row.cases)
    return [cell for cell in every if cannot(cell) is None]


_NO_SUCH_OPTION = {
    ("python", "dac", Case.OBJECT_ID): "can be told a client id only",
    ("python", "dac", Case.RESOURCE_ID): "can be told a client id only",
    ("go", "dac", Case.OBJECT_ID): "can be told a client id only, by `AZURE_CLIENT_ID`",
    ("go", "dac", Case.RESOURCE_ID): "can be told a client id only, by `AZURE_CLIENT_ID`",
    ("go", "adal", Case.OBJECT_ID): "can be told a client id or a resource id only",
    ("node", "dac", Case.OBJECT_ID): "can be told a client id or a resource id only",
    ("java", "dac", Case.OBJECT_ID): "can be told a client id or a resource id only",
    ("dotnet", "mi", Case.OBJECT_ID): "can be told a client id only, by `AZURE_CLIENT_ID`",
    ("dotnet", "mi", Case.RESOURCE_ID): "can be told a client id only, by `AZURE_CLIENT_ID`",
    ("dotnet", "prod", Case.OBJECT_ID): "can be told a client id only, by `AZURE_CLIENT_ID`",
    ("dotnet", "prod", Case.RESOURCE_ID): "can be told a client id only, by `AZURE_CLIENT_ID`",
}


def cannot(cell: Cell) -> str | None:
    """Say why there is nothing to run, or None."""
    row = cell.row
    if (row.client, row.route, cell.case) == ("rust", Route.ENVIRONMENT, Case.RESOURCE_ID):
        return "refuses a resource id as soon as `IDENTITY_ENDPOINT` is set, without asking"
    return _NO_SUCH_OPTION.get((row.client, row.mode, cell.case))


_UNASSIGNED = (Case.UNKNOWN, Case.NO_DEFAULT)
_KEPT_BACK = {
    ("python", "msrestazure"): (set(Route), ERRORS, "raises an error without the answer's text"),
    ("java", "dac"): (
        {Route.INTERCEPTION},
        _UNASSIGNED,
        "takes a 400 for a machine without managed identity and drops its text",
    ),
    ("rust", "mi"): (
        set(Route),
        _UNASSIGNED,
        "has a text of its own for a 400: the identity has not been assigned",
    ),
    ("programs", "registry"): (set(Route), ERRORS, "looks for `access_token` in whatever it is answered"),
    ("programs", "opendal"): (set(Route), ERRORS, "says only that it has no credential"),
    ("programs", "pyarrow"): (set(Route), ERRORS, "ends the process by an exception of C++ that nobody catches"),
}


def kept_back(cell: Cell) -> str | None:
    """Say why the client's error does not hold the reason that the sidecar gave, or None where it has to."""
    routes, cases, why = _KEPT_BACK.get((cell.row.client, cell.row.mode), (set(), (), ""))
    return why if cell.row.route in routes and cell.case in cases else None
