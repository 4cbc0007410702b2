"""What the cloud's tests share."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.unit.wisp_local.cloud.arm.client import ArmClient
from tests.unit.wisp_local.cloud.asgi import Client
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SUBJECT, Clock, KeyPool, SmallAzure
from wisp_local.cloud.app import Options, create_app
from wisp_local.cloud.issuer import new_rsa_key
from wisp_local.cloud.roles import OWNER
from wisp_local.cloud.state.store import Store


@pytest.fixture(scope="session")
def new_key() -> KeyPool:
    """Five RSA keys for the whole session."""
    return KeyPool([new_rsa_key() for _ in range(5)])


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock, new_key: KeyPool) -> Generator[Store]:
    """Give an empty state file."""
    with Store(tmp_path / "state.db", clock, new_key=new_key) as store:
        yield store


@pytest.fixture
def azure(store: Store, clock: Clock) -> Generator[SmallAzure]:
    """Give the walk-through's identity, which trusts the walk-through's service account."""
    store.put_resource_group("WorkloadIdentityRG", "eastus")
    identity = store.put_identity("WorkloadIdentityRG", "wi-demo-identity", "eastus")
    issuer = store.issuers.put("wilab")
    url = BASE_URL + issuer.path
    store.put_federated_credential(identity, "wi-demo-federated-id", issuer=url, subject=SUBJECT)
    log: list[dict[str, object]] = []
    app = create_app(store, BASE_URL, Options(log=lambda record: log.append(dict(record))))
    with Client(app, BASE_URL.removeprefix("https://")) as client:
        yield SmallAzure(store, clock, client, identity, issuer, log)


@pytest.fixture
def arm(azure: SmallAzure) -> ArmClient:
    """Return a client of Resource Manager whose principal owns the subscription."""
    caller = azure.store.principals.put("caller")
    azure.store.assignments.give(caller.principal_id, OWNER, azure.store.subscription().id)
    return ArmClient(azure, caller)
