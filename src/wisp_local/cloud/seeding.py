"""Apply a seed to a state: create what is missing, change what Azure lets be changed, delete nothing."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from wisp_local.cloud.entra.directory import FederatedCredential
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError, SeedError
from wisp_local.cloud.seed import DEFAULT_LOCATION, Credential, Identity, SeedFile, read_seed
from wisp_local.cloud.state.store import Store


def load_seed(path: Path) -> SeedFile:
    """Read the seed file at `path`; raises `SeedError`."""
    try:
        return read_seed(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SeedError(f"{path} cannot be read ({error.strerror})", hint="name another file") from error
    except UnicodeDecodeError:
        raise SeedError(f"{path} is not UTF-8", hint="save it as UTF-8") from None


def apply_seed(file: SeedFile, store: Store, base_url: str | None) -> bool:
    """Apply all of the seed to `store`, or nothing; tell whether anything changed.

    `base_url` (without a slash at its end) is where the cloud is served, which the URLs of its own issuers begin with.
    Raises `ConflictError` for what the state has otherwise and Azure lets nobody change.
    """
    seed = file.seed
    with store.transaction():
        before = store.changes
        store.set_tenant(_lower(seed.tenant.id), seed.tenant.name)
        store.set_subscription(_lower(seed.subscription.id), seed.subscription.name)
        urls: dict[str, str | None] = {}
        for number, issuer in enumerate(seed.issuers):
            with _located(file, f"issuers[{number}]"):
                own_path = "" if issuer.url else store.issuers.put(issuer.name, _lower(issuer.id)).path
            urls[issuer.name] = issuer.url or (base_url and base_url + own_path)
        for number, group in enumerate(seed.resource_groups):
            with _located(file, f"resourceGroups[{number}]"):
                location = group.location or _group_location(store, group.name) or DEFAULT_LOCATION
                store.put_resource_group(group.name, location)
        for uri in seed.resources:
            store.put_resource(uri)
        for number, identity in enumerate(seed.identities):
            with _located(file, f"identities[{number}]"):
                _put_identity(store, identity, urls)
        return store.changes > before


@contextlib.contextmanager
def _located(file: SeedFile, path: str) -> Iterator[None]:
    try:
        yield
    except (ConflictError, RequestError) as error:
        raise type(error)(f"{file.where(path)}: {error.problem}", hint=error.hint) from error


def _lower(guid: str | None) -> str | None:
    return guid and guid.lower()


def _group_location(store: Store, name: str) -> str | None:
    with contextlib.suppress(NotFoundError):
        return store.resource_group(name).location
    return None


def _location(store: Store, entry: Identity) -> str:
    """Return the identity's location: the current one if the file does not say; its group is created when new."""
    group = _group_location(store, entry.resource_group)
    if group is None:
        group = store.put_resource_group(entry.resource_group, entry.location or DEFAULT_LOCATION).location
    elif entry.location is None:
        with contextlib.suppress(NotFoundError):
            return store.identity(entry.resource_group, entry.name).location
    return entry.location or group


def _put_identity(store: Store, entry: Identity, urls: Mapping[str, str | None]) -> None:
    client_id, principal_id = _lower(entry.client_id), _lower(entry.principal_id)
    location = _location(store, entry)
    identity = store.put_identity(entry.resource_group, entry.name, location, ids=(client_id, principal_id))
    for kind, requested, current in (
        ("client", client_id, identity.client_id),
        ("principal", principal_id, identity.principal_id),
    ):
        if requested not in (None, current):
            problem = f"identity {identity.name} has the {kind} id {current}, not {requested}"
            raise ConflictError(problem, hint="ids never change: delete the identity, or name another state")
    store.put_federated_credentials(
        identity, [_credential(credential, urls) for credential in entry.federated_credentials]
    )


def _credential(entry: Credential, urls: Mapping[str, str | None]) -> FederatedCredential:
    url = urls.get(entry.issuer, entry.issuer)
    if url is None:
        problem = f"federated credential {entry.name} trusts an issuer of the cloud's own, whose URL is not known"
        raise RequestError(problem, hint="give --url, the cloud's base URL")
    return FederatedCredential(entry.name, url, entry.subject, (entry.audience,))
