"""Who signs tokens, and with which keys: Entra itself, and the issuers of clusters."""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from wisp.base.x509 import private_pem, self_signed
from wisp_local.cloud.cluster import Attachment
from wisp_local.cloud.errors import ConflictError, NotFoundError
from wisp_local.cloud.issuer import Issuer, NewKey, SigningKey, kubernetes_key_id, read_pem
from wisp_local.cloud.names import check_name
from wisp_local.cloud.state.database import Database

_ENTRA = "entra"  # the owner of the keys that sign access tokens
_ENTRA_NAME = "accounts.accesscontrol.windows.net"  # the common name of its certificates
_CERTIFICATE_SECONDS = 3650 * 86400.0
_BY_NAME = "SELECT id, name FROM issuer WHERE name = ?"


class Issuers:
    """The signing keys in `database` by owner, oldest first, parsed once; `new_key` generates them.

    It does so outside any transaction, because it is slow.
    """

    def __init__(self, database: Database, clock: Callable[[], float], new_key: NewKey) -> None:
        self._database = database
        self._clock = clock
        self._new_key = new_key
        self._parsed: dict[str, SigningKey] = {}  # by kid, which is a digest of the key

    def token_keys(self) -> tuple[SigningKey, ...]:
        """Return the keys that sign access tokens, created on first use; all are published, the last one signs."""
        keys = self._keys(_ENTRA)
        if keys:
            return keys
        new = _entra_key(self._new_key(), self._clock())
        with self._database.transaction():
            if not self._keys(_ENTRA):
                self._add(_ENTRA, new)
        return self._keys(_ENTRA)

    def put(self, name: str, issuer_id: str | None = None) -> Issuer:
        """Create the OIDC issuer of the cluster called `name`, with its first key, or return the existing one.

        Raises `ConflictError` where `issuer_id` is given (a GUID in lower case) and the issuer has another id, or
        another issuer has that id.
        """
        check_name("cluster", name)
        issuer = self._find(_BY_NAME, name) or self._create(name, issuer_id or str(uuid.uuid4()))
        if issuer_id not in (None, issuer.id):
            problem = f"issuer {issuer.name} has the id {issuer.id}, not {issuer_id}"
            raise ConflictError(problem, hint="ids never change: use that one, or another name")
        return issuer

    def _create(self, name: str, issuer_id: str) -> Issuer:
        key = _cluster_key(self._new_key())
        with self._database.transaction():
            if self._find(_BY_NAME, name) is None:
                other = self.get(issuer_id)
                if other is not None:
                    raise ConflictError(f"issuer {other.name} has the id {issuer_id}", hint="give another id")
                self._database.rows("INSERT INTO issuer VALUES (?, ?)", issuer_id, name)
                self._add(issuer_id, key)
            return self.named(name)

    def get(self, issuer_id: str) -> Issuer | None:
        """Return the issuer with this id (a GUID in lower case)."""
        return self._find("SELECT id, name FROM issuer WHERE id = ?", issuer_id)

    def named(self, name: str) -> Issuer:
        """Return the issuer of the cluster called `name`; raises `NotFoundError`."""
        found = self._find(_BY_NAME, name)
        if found is None:
            raise NotFoundError(f"there is no issuer called {name}", hint="create it first")
        return found

    def all(self) -> list[Issuer]:
        """Return every issuer, by name."""
        rows = self._database.rows("SELECT id, name FROM issuer ORDER BY name")
        return [Issuer(issuer_id, name, self._keys(issuer_id)) for issuer_id, name in rows]

    def rotate(self, name: str) -> Issuer:
        """Give the issuer a new key, which signs from now on; the old ones stay published."""
        key = _cluster_key(self._new_key())
        with self._database.transaction():
            self._add(self.named(name).id, key)
            return self.named(name)

    def retire_keys(self, name: str) -> Issuer:
        """Stop publishing all of the issuer's keys but the one that signs."""
        with self._database.transaction():
            issuer = self.named(name)
            statement = "DELETE FROM signing_key WHERE owner = ? AND key_id != ?"
            self._database.rows(statement, issuer.id, issuer.keys[-1].key_id)
            return self.named(name)

    def delete(self, name: str) -> None:
        """Delete the issuer and its keys; nothing happens when it does not exist."""
        with self._database.transaction():
            statement = "DELETE FROM signing_key WHERE owner = (SELECT id FROM issuer WHERE name = ?)"
            self._database.rows(statement, name)
            self._database.rows("DELETE FROM issuer WHERE name = ?", name)

    def attached_keys(self, *, url: str = "", path: str = "", name: str = "") -> str | None:
        """Return the key set that was attached for an issuer: by its whole URL, its path here, or its cluster's name.

        It is published, and assertions are verified with it, instead of the issuer's own keys.
        """
        for row in self._database.rows("SELECT * FROM attachment WHERE key_set != ''"):
            attached = Attachment(*row)
            own = not attached.issuer_url and attached.cluster.lower() == name.lower()
            if (url and attached.issuer_url == url) or (path and attached.issuer_url.endswith(path)) or own:
                return attached.key_set
        return None

    def _find(self, query: str, value: str) -> Issuer | None:
        row = self._database.row(query, value)
        return None if row is None else Issuer(row[0], row[1], self._keys(row[0]))

    def _add(self, owner: str, key: SigningKey) -> None:
        statement = "INSERT INTO signing_key (owner, key_id, pem, extra) VALUES (?, ?, ?, ?)"
        self._database.rows(statement, owner, key.key_id, private_pem(key.private), json.dumps(dict(key.extra)))

    def _keys(self, owner: str) -> tuple[SigningKey, ...]:
        rows = self._database.rows("SELECT key_id, pem, extra FROM signing_key WHERE owner = ? ORDER BY number", owner)
        for key_id, pem, extra in rows:
            if key_id not in self._parsed:
                self._parsed[key_id] = SigningKey(key_id, read_pem(pem), json.loads(extra))
        return tuple(self._parsed[row[0]] for row in rows)


def _cluster_key(private: RSAPrivateKey) -> SigningKey:
    return SigningKey(kubernetes_key_id(private.public_key()), private, {})


def _entra_key(private: RSAPrivateKey, now: float) -> SigningKey:
    """Wrap the key as Entra does: `kid` and `x5t` are both the thumbprint of a certificate, which is published too."""
    der = self_signed(private, _ENTRA_NAME, now=now, seconds=_CERTIFICATE_SECONDS).public_bytes(Encoding.DER)
    thumbprint = base64.urlsafe_b64encode(hashlib.sha1(der, usedforsecurity=False).digest()).rstrip(b"=").decode()
    return SigningKey(thumbprint, private, {"x5t": thumbprint, "x5c": [base64.b64encode(der).decode()]})
