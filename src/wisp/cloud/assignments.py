"""Role assignments: who was given which role on what. They are kept and shown; nothing here enforces them."""

from collections.abc import Callable
from dataclasses import dataclass

from wisp.cloud.database import Database


@dataclass(frozen=True)
class RoleAssignment:
    """The assignment called `name` (a GUID) of a role to a principal at `scope`, a resource id; `created` in Unix s."""

    name: str
    scope: str
    role_definition_id: str
    principal_id: str
    principal_type: str
    created: float


class Assignments:
    """The role assignments in `database`; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def put(self, assignment: RoleAssignment) -> RoleAssignment | None:
        """Keep the assignment; None when another name has the same principal, role and scope already."""
        statement = "INSERT INTO role_assignment VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        row = (
            assignment.name,
            assignment.scope,
            assignment.role_definition_id,
            assignment.principal_id,
            assignment.principal_type,
        )
        with self._database.transaction():
            self._database.rows(statement, *row, self._clock())
            return self.get(assignment.name)

    def get(self, name: str) -> RoleAssignment | None:
        """Return the assignment of that name."""
        row = self._database.row("SELECT * FROM role_assignment WHERE name = ?", name)
        return None if row is None else RoleAssignment(*row)

    def every(self) -> list[RoleAssignment]:
        """Return every assignment, by scope and name."""
        rows = self._database.rows("SELECT * FROM role_assignment ORDER BY scope, name")
        return [RoleAssignment(*each) for each in rows]

    def delete(self, name: str) -> None:
        """Delete the assignment of that name; nothing happens when there is none."""
        with self._database.transaction():
            self._database.rows("DELETE FROM role_assignment WHERE name = ?", name)
