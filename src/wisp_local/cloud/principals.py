"""Applications and their service principals: who logs in with a secret or an assertion and is no managed identity.

A secret is shown once, when it is made; what is kept is its scrypt digest.
"""

import hashlib
import hmac
import json
import os
import secrets
import uuid
from collections.abc import Callable

from wisp.base.secret import Secret
from wisp_local.cloud import names
from wisp_local.cloud.database import Database, Row
from wisp_local.cloud.directory import DEFAULT_AUDIENCE, Application, FederatedCredential, SecretCheck
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError
from wisp_local.cloud.inventory import must_fit

SECRET_LIFETIME = 365 * 24 * 3600  # seconds; what `az ad sp create-for-rbac` gives
_SHORTEST = 16  # characters of a secret that is brought along
_COST = 2**12  # scrypt's N: 10 ms a login, while a state file that was stolen holds the keys in any case


class Principals:
    """The applications in `database` of the tenant that `tenant_id` gives; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float], tenant_id: Callable[[], str]) -> None:
        self._database = database
        self._clock = clock
        self._tenant_id = tenant_id

    def put(self, display_name: str, client_id: str | None = None) -> Application:
        """Register the application of that name, or return the one there is; a new one may bring its `client_id`."""
        names.check_principal(display_name, client_id)
        tenant_id = self._tenant_id()
        new = (client_id.lower() if client_id else _guid(), _guid(), _guid(), display_name, tenant_id)
        with self._database.transaction():
            found = self._called(display_name)
            if found is None:
                self._must_be_free(new[0])
                self._database.rows("INSERT INTO application VALUES (?, ?, ?, ?, ?)", *new)
                return Application(*new)
        if client_id is not None and found.client_id != client_id.lower():
            problem = f"application {display_name} already exists as {found.client_id}"
            raise ConflictError(problem, hint="use that client id, or another name")
        return found

    def _must_be_free(self, client_id: str) -> None:
        query = "SELECT 1 FROM identity WHERE client_id = ? UNION SELECT 1 FROM application WHERE client_id = ?"
        if self._database.row(query, client_id, client_id) is not None:
            raise ConflictError(f"client id {client_id} is another client's", hint="leave it out: one is made up")

    def named(self, display_name: str) -> Application:
        """Return the application called `display_name`; raises `NotFoundError`."""
        found = self._called(display_name)
        if found is None:
            raise NotFoundError(f"there is no application {display_name}", hint="make it first")
        return found

    def _called(self, display_name: str) -> Application | None:
        return _application(self._database.row("SELECT * FROM application WHERE display_name = ?", display_name))

    def of_client(self, client_id: str) -> Application | None:
        """Return the application whose client id this is."""
        return _application(self._database.row("SELECT * FROM application WHERE client_id = ?", client_id.lower()))

    def every(self) -> list[Application]:
        """Return every application, by name."""
        return [Application(*row) for row in self._database.rows("SELECT * FROM application ORDER BY display_name")]

    def delete(self, application: Application) -> None:
        """Delete the application with its secrets and federated credentials."""
        with self._database.transaction():
            self._database.rows("DELETE FROM application WHERE client_id = ?", application.client_id)

    def add_secret(
        self, application: Application, secret: Secret | None = None, *, lifetime: float = SECRET_LIFETIME
    ) -> Secret:
        """Make a secret beside those there are, good for `lifetime` seconds, or take the one that is brought along."""
        if secret is not None and len(secret.reveal()) < _SHORTEST:
            raise RequestError("the secret is too short", hint=f"give at least {_SHORTEST} characters, or none")
        made = secret or Secret(secrets.token_urlsafe(30))
        salt = os.urandom(16)
        row = (_guid(), application.client_id, salt, _digest(made, salt), self._clock() + lifetime)
        with self._database.transaction():
            if self.of_client(application.client_id) is None:
                raise NotFoundError(f"there is no application {application.display_name}", hint="make it first")
            self._database.rows("INSERT INTO client_secret VALUES (?, ?, ?, ?, ?)", *row)
        return made

    def check_secret(self, client_id: str, secret: Secret) -> SecretCheck:
        """Tell what `secret` is to the client: one of its own, an expired one, or neither."""
        query = "SELECT salt, digest, expires FROM client_secret WHERE client_id = ?"
        for salt, digest, expires in self._database.rows(query, client_id.lower()):
            if hmac.compare_digest(digest, _digest(secret, salt)):
                return SecretCheck.RIGHT if self._clock() < expires else SecretCheck.EXPIRED
        return SecretCheck.WRONG

    def put_credential(
        self,
        application: Application,
        name: str,
        *,
        issuer: str,
        subject: str,
        audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,),
    ) -> FederatedCredential:
        """Make or replace a federated credential; the rules and errors are those of an identity's."""
        names.check_credential(name, issuer, subject, audiences)
        credential = FederatedCredential(name, issuer, subject, tuple(audiences))
        with self._database.transaction():
            statement = "DELETE FROM application_credential WHERE client_id = ? AND name = ?"
            self._database.rows(statement, application.client_id, name)
            must_fit(credential, self.credentials(application))
            row = (application.client_id, name, issuer, subject, json.dumps(audiences))
            self._database.rows("INSERT INTO application_credential VALUES (?, ?, ?, ?, ?)", *row)
        return credential

    def credentials(self, application: Application) -> list[FederatedCredential]:
        """Return the application's federated credentials, by name."""
        query = "SELECT name, issuer, subject, audiences FROM application_credential WHERE client_id = ? ORDER BY name"
        rows = self._database.rows(query, application.client_id)
        return [FederatedCredential(row[0], row[1], row[2], tuple(json.loads(row[3]))) for row in rows]


def _application(row: Row | None) -> Application | None:
    return None if row is None else Application(*row)


def _digest(secret: Secret, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.reveal().encode(errors="surrogatepass"), salt=salt, n=_COST, r=8, p=1, dklen=32)


def _guid() -> str:
    return str(uuid.uuid4())
