"""Puts a seed into a state file: makes what is not there, changes what Azure lets be changed, deletes nothing."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from wisp_local.cloud.entra.directory import FederatedCredential
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError, SeedError
from wisp_local.cloud.seed import DEFAULT_LOCATION, Credential, Group, Identity, Own, Seed, read_seed
from wisp_local.cloud.state.store import Store


def load_seed(path: Path) -> Seed:
    """Read the seed file at `path`; raises `SeedError`."""
    try:
        return read_seed(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SeedError(f"{path} cannot be read ({error.strerror})", hint="name another file") from error
    except UnicodeDecodeError:
        raise SeedError(f"{path} is not UTF-8", hint="save it as UTF-8") from None


def apply_seed(seed: Seed, store: Store, base_url: str | None) -> bool:
    """Put all of `seed` into `store`, or nothing; tell whether anything changed.

    `base_url` (no slash at its end) is where the cloud is served, which its own issuers' URLs begin with. Raises
    `ConflictError` for what the state has otherwise and Azure lets nobody change.
    """
    with store.transaction():
        before = store.changes
        store.set_tenant(seed.tenant.id, seed.tenant.name)
        store.set_subscription(seed.subscription.id, seed.subscription.name)
        urls = {each.name: _issuer_url(store, each, base_url) for each in seed.issuers}
        for group in seed.groups:
            _put_group(store, group)
        for uri in seed.resources:
            store.put_resource(uri)
        for identity in seed.identities:
            _put_identity(store, identity, urls)
        return store.changes > before


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    try:
        yield
    except (ConflictError, RequestError) as error:
        raise type(error)(f"{where}: {error.problem}", hint=error.hint) from error


def _issuer_url(store: Store, own: Own, base_url: str | None) -> str | None:
    with _located(own.where):
        issuer = store.issuers.put(own.name, own.id)
    return None if base_url is None else base_url + issuer.path


def _put_group(store: Store, group: Group) -> None:
    with _located(group.where):
        store.put_resource_group(group.name, group.location or _group_location(store, group.name) or DEFAULT_LOCATION)


def _group_location(store: Store, name: str) -> str | None:
    with contextlib.suppress(NotFoundError):
        return store.resource_group(name).location
    return None


def _place(store: Store, wanted: Identity) -> str:
    """Return where the identity is to be: where it is, if the file does not say; its group is made when new."""
    group = _group_location(store, wanted.group)
    if group is None:
        group = store.put_resource_group(wanted.group, wanted.location or DEFAULT_LOCATION).location
    elif wanted.location is None:
        with contextlib.suppress(NotFoundError):
            return store.identity(wanted.group, wanted.name).location
    return wanted.location or group


def _put_identity(store: Store, wanted: Identity, urls: Mapping[str, str | None]) -> None:
    with _located(wanted.where):
        identity = store.put_identity(
            wanted.group,
            wanted.name,
            _place(store, wanted),
            ids=(wanted.client_id, wanted.principal_id),
        )
        for what, asked, there in (
            ("client", wanted.client_id, identity.client_id),
            ("principal", wanted.principal_id, identity.principal_id),
        ):
            if asked not in (None, there):
                problem = f"identity {identity.name} has the {what} id {there}, not {asked}"
                raise ConflictError(problem, hint="ids never change: delete the identity, or name another state")
        store.put_federated_credentials(identity, [_credential(each, urls) for each in wanted.credentials])


def _credential(wanted: Credential, urls: Mapping[str, str | None]) -> FederatedCredential:
    url = urls[wanted.issuer.name] if isinstance(wanted.issuer, Own) else wanted.issuer
    if url is None:
        problem = f"federated credential {wanted.name} trusts an issuer of the cloud's own, whose URL is not known"
        raise RequestError(problem, hint="give --url, the cloud's base URL")
    return FederatedCredential(wanted.name, url, wanted.subject, (wanted.audience,))
