"""Store role assignments: which principal has which role at which scope."""

import uuid
from collections.abc import Callable

from wisp_local.cloud.database import Database
from wisp_local.cloud.roles import Role, RoleAssignment


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

    def give(self, principal_id: str, role: Role, subscription_id: str) -> None:
        """Assign `role` to a service principal for the whole subscription; nothing happens when it has it already."""
        scope = f"/subscriptions/{subscription_id}"
        definition = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{role.guid}"
        name = str(uuid.uuid4())
        self.put(RoleAssignment(name, scope, definition, principal_id, "ServicePrincipal", self._clock()))

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
