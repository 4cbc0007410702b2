"""The state file: what it keeps, for whom, and what it refuses."""

import multiprocessing
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.wisp_local.cloud.small_azure import ARM, NOW, SUBJECT, Clock, KeyPool, SmallAzure
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError, StateError
from wisp_local.cloud.state.database import SCHEMA_VERSION
from wisp_local.cloud.state.store import Store


def _identity(store: Store) -> ManagedIdentity:
    store.put_resource_group("RG", "eastus")
    return store.put_identity("RG", "app", "eastus")


def test_ids_keys_and_certificates_survive_a_restart(tmp_path: Path, new_key: KeyPool) -> None:

    def _seen(store: Store) -> list[object]:
        identity = _identity(store)
        store.put_federated_credential(identity, "fic", issuer="https://i/", subject="s")
        return [
            store.tenant(),
            store.subscription(),
            store.resource_groups(),
            identity,
            store.federated_credentials(identity),
            [key.published() for key in store.issuers.token_keys()],
            [(issuer.id, [key.published() for key in issuer.keys]) for issuer in [store.issuers.put("c")]],
            store.authority.certificate_pem,
            store.authority.server_certificate(["localhost"]),
        ]

    with Store(tmp_path / "s", Clock(NOW), new_key=new_key) as store:
        before = _seen(store)
    with Store(tmp_path / "s", Clock(NOW + 9999), new_key=new_key) as store:
        assert _seen(store) == before


def test_state_files_are_readable_by_their_owner_only(store: Store) -> None:
    """The file and SQLite's log hold private keys."""
    store.issuers.token_keys()
    files = list(store.path.parent.glob("state.db*"))
    assert {file.name for file in files} >= {"state.db", "state.db-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_mode_of_an_existing_file_is_corrected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    Store(path).close()
    path.chmod(0o644)
    Store(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _corrupt(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _newer(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()


def _older(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def _others(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


@pytest.mark.parametrize(
    "spoil, words",
    [
        (_corrupt, "not a database"),
        (_newer, "newer wisp"),
        (_older, "a development version of wisp made it.* delete it"),
        (_others, "not a state file of wisp's"),
        (Path.mkdir, "not a regular file"),
    ],
)
def test_unusable_state_file_is_refused_and_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "s"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StateError, match=words) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_missing_folder_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"):
        Store(tmp_path / "absent" / "s")


def test_identity_is_found_in_any_case_and_keeps_its_ids(store: Store) -> None:
    made = _identity(store)
    assert store.put_identity("rg", "APP", "EastUS") == made
    assert store.identity("Rg", "aPP") == made
    assert store.identity_of_client(made.client_id.upper()) == made
    assert store.identities() == [made]
    assert store.put_resource_group("rG", "eastus").resource_id.endswith("/resourceGroups/RG")


def test_objects_cannot_move_and_need_their_parents(store: Store) -> None:
    _identity(store)
    with pytest.raises(ConflictError, match="resource group RG already exists in eastus"):
        store.put_resource_group("rg", "westus")
    with pytest.raises(ConflictError, match="identity app already exists in eastus"):
        store.put_identity("RG", "app", "westus")
    with pytest.raises(NotFoundError, match="no resource group other"):
        store.put_identity("other", "app", "eastus")
    with pytest.raises(NotFoundError, match="no identity other"):
        store.identity("RG", "other")


Put = Callable[[Store, ManagedIdentity], object]


def _federate(
    name: str = "fic", issuer: str = "https://i/", subject: str = "s", audiences: tuple[str, ...] = ("a",)
) -> Put:
    return lambda store, identity: store.put_federated_credential(
        identity, name, issuer=issuer, subject=subject, audiences=audiences
    )


BAD: dict[str, Put] = {
    "group": lambda store, _: store.put_resource_group("ends with.", "eastus"),
    "location": lambda store, _: store.put_resource_group("RG2", "East US"),
    "identity": lambda store, _: store.put_identity("RG", "ab", "eastus"),
    "cluster": lambda store, _: store.issuers.put("-"),
    "resource": lambda store, _: store.put_resource("my-api"),
    "credential": _federate(name="x"),
    "http issuer": _federate(issuer="http://i/"),
    "issuer with a query": _federate(issuer="https://i/?q"),
    "issuer with a wrong port": _federate(issuer="https://i:99999/"),
    "no subject": _federate(subject=""),
    "half a character": _federate(subject="\ud800"),
    "two audiences": _federate(audiences=("a", "b")),
}


@pytest.mark.parametrize("put", BAD.values(), ids=BAD)
def test_invalid_name_or_credential_is_refused(store: Store, put: Put) -> None:
    """Nothing is written."""
    identity = _identity(store)
    with pytest.raises(RequestError):
        put(store, identity)
    assert store.federated_credentials(identity) == []


def test_twenty_first_federated_credential_is_refused(store: Store) -> None:
    """Replacing one of the twenty is possible."""
    identity = _identity(store)
    for number in range(20):
        store.put_federated_credential(identity, f"fic{number}", issuer="https://i/", subject=str(number))
    with pytest.raises(RequestError, match="20 federated credentials"):
        store.put_federated_credential(identity, "one-more", issuer="https://i/", subject="x")
    store.put_federated_credential(identity, "FIC0", issuer="https://i/", subject="replaced")
    assert len(store.federated_credentials(identity)) == 20


def test_issuer_and_subject_are_unique_within_an_identity(store: Store) -> None:
    identity = _identity(store)
    credential = store.put_federated_credential(identity, "one", issuer="https://i/", subject="s")
    with pytest.raises(ConflictError, match="one already has this issuer and subject"):
        store.put_federated_credential(identity, "two", issuer="https://i/", subject="s")
    assert store.put_federated_credential(identity, "one", issuer="https://i/", subject="s") == credential
    store.put_federated_credential(store.put_identity("RG", "app2", "eastus"), "one", issuer="https://i/", subject="s")
    assert store.federated_credentials(identity) == [credential]


def test_deletion_includes_contents(store: Store) -> None:
    """Deleting twice changes nothing."""
    identity = _identity(store)
    store.put_federated_credential(identity, "one", issuer="https://i/", subject="s")
    store.delete_federated_credential(identity, "ONE")
    store.put_federated_credential(identity, "one", issuer="https://i/", subject="s")
    for _ in range(2):
        store.delete_resource_group("rg")
    assert (store.identities(), store.federated_credentials(identity), store.resource_groups()) == ([], [], [])
    with pytest.raises(NotFoundError):
        store.put_federated_credential(identity, "one", issuer="https://i/", subject="s")
    store.delete_identity(identity)
    store.issuers.put("c")
    store.issuers.delete("C")
    assert store.issuers.all() == []
    with pytest.raises(NotFoundError):
        store.issuers.rotate("c")


def test_deleted_identity_gets_no_tokens(azure: SmallAzure) -> None:
    assert azure.ask().status == 200
    azure.store.delete_identity(azure.identity)
    assert azure.ask().code == 700016


def test_own_resource_is_known_once_registered(azure: SmallAzure) -> None:
    azure.store.put_resource("api://my-api")
    assert azure.store.resources() == ["api://my-api"]
    assert azure.ask(scope="api://my-api//.default").status == 200
    assert azure.ask(scope="https://management.azure.com.evil.test/.default").code == 500011
    assert azure.ask(scope=f"{ARM}/.default").status == 200


def _fill(path: Path, worker: int, start: object) -> None:
    """Write as one of several processes would."""
    start.wait()  # type: ignore[attr-defined]  # multiprocessing's barrier has no public type
    with Store(path) as store:
        store.put_resource_group("RG", "eastus")
        shared = store.put_identity("RG", "shared", "eastus")
        for number in range(5):
            store.put_identity("RG", f"app-{worker}-{number}", "eastus")
            store.put_federated_credential(
                shared, f"fic-{worker}-{number}", issuer="https://i/", subject=f"{worker}{number}"
            )
        store.issuers.put("cluster")


def test_processes_that_create_the_file_at_once_agree(tmp_path: Path) -> None:
    path, context = tmp_path / "s", multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    workers = [context.Process(target=_fill, args=(path, number, start)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Store(path) as store:
        assert len(store.identities()) == 1 + 3 * 5
        assert len(store.federated_credentials(store.identity("RG", "shared"))) == 15
        assert len(store.issuers.all()) == 1


def test_lookups_of_an_exchange_use_an_index(azure: SmallAzure) -> None:
    for query in (
        "SELECT * FROM identity WHERE client_id = ?",
        "SELECT * FROM federated_credential WHERE client_id = ?",
    ):
        ((*_, plan),) = azure.store._database.rows(f"EXPLAIN QUERY PLAN {query}", "x")
        assert "SEARCH" in plan
        assert "INDEX" in plan
    assert azure.store.federated_credentials(azure.identity)[0].subject == SUBJECT
