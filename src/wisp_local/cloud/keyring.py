"""The signing keys of a state file: Entra's own and those of every issuer, parsed once a process."""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from wisp_local.cloud.certificates import self_signed
from wisp_local.cloud.database import Database
from wisp_local.cloud.errors import ConflictError, NotFoundError
from wisp_local.cloud.issuer import Issuer
from wisp_local.cloud.names import check_cluster
from wisp_local.cloud.signing import NewKey, SigningKey, kubernetes_key_id, read_pem, write_pem

_ENTRA = "entra"
_BY_NAME = "SELECT id, name FROM issuer WHERE name = ?"


class Keyring:
    """Keys by owner, oldest first, in `database`; `new_key` makes them, outside any transaction as it is slow."""

    def __init__(self, database: Database, clock: Callable[[], float], new_key: NewKey) -> None:
        self._database = database
        self._clock = clock
        self._new_key = new_key
        self._parsed: dict[str, SigningKey] = {}  # by kid, which is a digest of the key

    def token_keys(self) -> tuple[SigningKey, ...]:
        """Return Entra's keys, the first one made now if there is none."""
        keys = self._keys(_ENTRA)
        if keys:
            return keys
        new = _entra_key(self._new_key(), self._clock())
        with self._database.transaction():
            if not self._keys(_ENTRA):
                self._add(_ENTRA, new)
        return self._keys(_ENTRA)

    def put_issuer(self, name: str, issuer_id: str | None = None) -> Issuer:
        """Return the issuer called `name`, made now if there is none; raises `ConflictError` if it has another id."""
        check_cluster(name)
        issuer = self._find(_BY_NAME, name) or self._new_issuer(name, issuer_id or str(uuid.uuid4()))
        if issuer_id not in (None, issuer.id):
            problem = f"issuer {issuer.name} has the id {issuer.id}, not {issuer_id}"
            raise ConflictError(problem, hint="ids never change: use that one, or another name")
        return issuer

    def _new_issuer(self, name: str, issuer_id: str) -> Issuer:
        key = _cluster_key(self._new_key())
        with self._database.transaction():
            if self._find(_BY_NAME, name) is None:
                self._must_be_free(issuer_id)
                self._database.rows("INSERT INTO issuer VALUES (?, ?)", issuer_id, name)
                self._add(issuer_id, key)
            return self.issuer_called(name)

    def _must_be_free(self, issuer_id: str) -> None:
        other = self.issuer(issuer_id)
        if other is not None:
            raise ConflictError(f"issuer {other.name} has the id {issuer_id}", hint="give another id")

    def issuer(self, issuer_id: str) -> Issuer | None:
        """Return the issuer with this id."""
        return self._find("SELECT id, name FROM issuer WHERE id = ?", issuer_id)

    def issuer_called(self, name: str) -> Issuer:
        """Return the issuer called `name`; raises `NotFoundError`."""
        found = self._find(_BY_NAME, name)
        if found is None:
            raise NotFoundError(f"there is no issuer called {name}", hint="make it first")
        return found

    def issuers(self) -> list[Issuer]:
        """Return every issuer, by name."""
        rows = self._database.rows("SELECT id, name FROM issuer ORDER BY name")
        return [Issuer(issuer_id, name, self._keys(issuer_id)) for issuer_id, name in rows]

    def rotate(self, name: str) -> Issuer:
        """Add a key to the issuer called `name`."""
        key = _cluster_key(self._new_key())
        with self._database.transaction():
            self._add(self.issuer_called(name).id, key)
            return self.issuer_called(name)

    def retire(self, name: str) -> Issuer:
        """Drop all keys but the newest of the issuer called `name`."""
        with self._database.transaction():
            issuer = self.issuer_called(name)
            statement = "DELETE FROM signing_key WHERE owner = ? AND key_id != ?"
            self._database.rows(statement, issuer.id, issuer.keys[-1].key_id)
            return self.issuer_called(name)

    def delete(self, name: str) -> None:
        """Drop the issuer called `name` and its keys."""
        with self._database.transaction():
            statement = "DELETE FROM signing_key WHERE owner = (SELECT id FROM issuer WHERE name = ?)"
            self._database.rows(statement, name)
            self._database.rows("DELETE FROM issuer WHERE name = ?", name)

    def _find(self, query: str, value: str) -> Issuer | None:
        row = self._database.row(query, value)
        return None if row is None else Issuer(row[0], row[1], self._keys(row[0]))

    def _add(self, owner: str, key: SigningKey) -> None:
        statement = "INSERT INTO signing_key (owner, key_id, pem, extra) VALUES (?, ?, ?, ?)"
        self._database.rows(statement, owner, key.key_id, write_pem(key.private), json.dumps(dict(key.extra)))

    def _keys(self, owner: str) -> tuple[SigningKey, ...]:
        rows = self._database.rows("SELECT key_id, pem, extra FROM signing_key WHERE owner = ? ORDER BY number", owner)
        return tuple(self._key(*each) for each in rows)

    def _key(self, key_id: str, pem: bytes, extra: str) -> SigningKey:
        if key_id not in self._parsed:
            self._parsed[key_id] = SigningKey(key_id, read_pem(pem), json.loads(extra))
        return self._parsed[key_id]


def _cluster_key(private: RSAPrivateKey) -> SigningKey:
    return SigningKey(kubernetes_key_id(private.public_key()), private, {})


def _entra_key(private: RSAPrivateKey, now: float) -> SigningKey:
    """Wrap the key as Entra does: `kid` and `x5t` are both the thumbprint of a certificate, which is published too."""
    der = self_signed(private, "accounts.accesscontrol.windows.net", now).public_bytes(Encoding.DER)
    thumbprint = base64.urlsafe_b64encode(hashlib.sha1(der, usedforsecurity=False).digest()).rstrip(b"=").decode()
    return SigningKey(thumbprint, private, {"x5t": thumbprint, "x5c": [base64.b64encode(der).decode()]})
