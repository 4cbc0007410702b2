"""Applications with their service principals and secrets, and the roles of principals.

An application logs in with a secret or an assertion, as a managed identity does. A secret is shown once, when it is
created; what is stored is its scrypt digest.
"""

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Callable
from dataclasses import astuple, replace

from wisp.base.secret import Secret
from wisp_local.cloud import names
from wisp_local.cloud.entra.directory import Application, SecretCheck
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError
from wisp_local.cloud.roles import Role, RoleAssignment
from wisp_local.cloud.state.database import Database

SECRET_LIFETIME = 365 * 24 * 3600  # seconds; what `az ad sp create-for-rbac` gives
_MINIMUM_LENGTH = 16  # characters of a secret that the caller chose
_COST = 2**12  # scrypt's N: 10 ms a login, while a state file that was stolen holds the keys in any case


class Principals:
    """The applications in `database` of the tenant that `tenant_id` returns; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float], tenant_id: Callable[[], str]) -> None:
        self._database = database
        self._clock = clock
        self._tenant_id = tenant_id

    def put(self, display_name: str, client_id: str | None = None) -> Application:
        """Register the application of that name, or return the existing one; a new one may choose its `client_id`.

        Raises `ConflictError` when it exists with another client id, or another client has that id.
        """
        names.check_principal(display_name, client_id)
        tenant_id = self._tenant_id()
        new = Application(client_id.lower() if client_id else _guid(), _guid(), _guid(), display_name, tenant_id)
        with self._database.transaction():
            found = self._find("display_name", display_name)
            if found is None:
                query = "SELECT 1 FROM identity WHERE client_id = ? UNION SELECT 1 FROM application WHERE client_id = ?"
                if self._database.row(query, new.client_id, new.client_id) is not None:
                    problem = f"client id {new.client_id} is another client's"
                    raise ConflictError(problem, hint="leave it out to have one generated")
                self._database.rows("INSERT INTO application VALUES (?, ?, ?, ?, ?)", *astuple(new))
                return new
        if client_id is not None and found.client_id != client_id.lower():
            problem = f"application {display_name} already exists as {found.client_id}"
            raise ConflictError(problem, hint="use that client id, or another name")
        return found

    def named(self, display_name: str) -> Application:
        """Return the application called `display_name`; raises `NotFoundError`."""
        found = self._find("display_name", display_name)
        if found is None:
            raise _no_application(display_name)
        return found

    def of_client(self, client_id: str) -> Application | None:
        """Return the application with this client id."""
        return self._find("client_id", client_id.lower())

    def _find(self, column: str, value: str) -> Application | None:
        row = self._database.row(f"SELECT * FROM application WHERE {column} = ?", value)  # noqa: S608 -- one of two
        return None if row is None else Application(*row)

    def all(self) -> list[Application]:
        """Return every application, by name."""
        return [Application(*row) for row in self._database.rows("SELECT * FROM application ORDER BY display_name")]

    def delete(self, application: Application) -> None:
        """Delete the application with its secrets and federated credentials."""
        with self._database.transaction():
            self._database.rows("DELETE FROM application WHERE client_id = ?", application.client_id)

    def add_secret(
        self, application: Application, secret: Secret | None = None, *, lifetime: float = SECRET_LIFETIME
    ) -> Secret:
        """Add `secret`, or a random one, to those that the application has; it is valid for `lifetime` seconds.

        Raises `RequestError` for a secret that is too short, `NotFoundError` when the application does not exist.
        """
        if secret is not None and len(secret.reveal()) < _MINIMUM_LENGTH:
            raise RequestError("the secret is too short", hint=f"give at least {_MINIMUM_LENGTH} characters, or none")
        added = secret or Secret(secrets.token_urlsafe(30))
        salt = os.urandom(16)
        row = (_guid(), application.client_id, salt, _digest(added, salt), self._clock() + lifetime)
        with self._database.transaction():
            if self.of_client(application.client_id) is None:
                raise _no_application(application.display_name)
            self._database.rows("INSERT INTO client_secret VALUES (?, ?, ?, ?, ?)", *row)
        return added

    def check_secret(self, client_id: str, secret: Secret) -> SecretCheck:
        """Tell whether `secret` is one of the client's own, an expired one, or neither."""
        query = "SELECT salt, digest, expires FROM client_secret WHERE client_id = ?"
        for salt, digest, expires in self._database.rows(query, client_id.lower()):
            if hmac.compare_digest(digest, _digest(secret, salt)):
                return SecretCheck.RIGHT if self._clock() < expires else SecretCheck.EXPIRED
        return SecretCheck.WRONG


class Assignments:
    """The role assignments in `database`; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def put(self, assignment: RoleAssignment) -> RoleAssignment | None:
        """Store the assignment, created now; None when another name has the same principal, role and scope already."""
        row = astuple(replace(assignment, created=self._clock()))
        with self._database.transaction():
            statement = "INSERT INTO role_assignment VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            self._database.rows(statement, *row)
            return self.get(assignment.name)

    def give(self, principal_id: str, role: Role, subscription_id: str) -> None:
        """Assign `role` to a service principal for the whole subscription; nothing happens when it has it already."""
        scope = f"/subscriptions/{subscription_id}"
        definition = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{role.guid}"
        self.put(RoleAssignment(_guid(), scope, definition, principal_id, "ServicePrincipal", self._clock()))

    def get(self, name: str) -> RoleAssignment | None:
        """Return the assignment of that name."""
        row = self._database.row("SELECT * FROM role_assignment WHERE name = ?", name)
        return None if row is None else RoleAssignment(*row)

    def all(self) -> list[RoleAssignment]:
        """Return every assignment, by scope and name."""
        return [
            RoleAssignment(*row) for row in self._database.rows("SELECT * FROM role_assignment ORDER BY scope, name")
        ]

    def delete(self, name: str) -> None:
        """Delete the assignment of that name; nothing happens when it does not exist."""
        with self._database.transaction():
            self._database.rows("DELETE FROM role_assignment WHERE name = ?", name)


def _no_application(display_name: str) -> NotFoundError:
    return NotFoundError(f"there is no application {display_name}", hint="create it first")


def _digest(secret: Secret, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.reveal().encode(errors="surrogatepass"), salt=salt, n=_COST, r=8, p=1, dklen=32)


def _guid() -> str:
    return str(uuid.uuid4())
