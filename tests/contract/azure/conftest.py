"""A local cloud and an `az` that is registered and logged in there, once for all of these tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.azure.az import Az, new_home
from tests.unit.wisp_local.cloud.process import Running, running
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import Application
from wisp_local.cloud.roles import OWNER
from wisp_local.cloud.state.store import Store


@dataclass(frozen=True)
class LocalAzure:
    """A running cloud, and an application with a secret in it."""

    cloud: Running
    application: Application
    secret: Secret

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that `az` needs (docs/reference/resource-manager.md)."""
        return {
            "REQUESTS_CA_BUNDLE": self.cloud.ca_file,
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
        }


@pytest.fixture(name="local", scope="session")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAzure]:
    """Run a cloud."""
    state = tmp_path_factory.mktemp("cloud") / "cloud.db"
    with running(state) as cloud, Store(state) as store:
        application = store.principals.put("tests")
        store.assignments.give(application.principal_id, OWNER, store.subscription().id)
        yield LocalAzure(cloud, application, store.principals.add_secret(application))


@pytest.fixture(name="az", scope="session")
def _az(local: LocalAzure, tmp_path_factory: pytest.TempPathFactory) -> Az:
    """Register the cloud and log in with the secret."""
    az = registered(local, tmp_path_factory.mktemp("az"))
    user, tenant = local.application.client_id, local.application.tenant_id
    az(f"login --service-principal -u {user} -p={local.secret.reveal()} --tenant {tenant}")
    return az


def registered(local: LocalAzure, home: Path) -> Az:
    """Return an `az` in `home` with the cloud registered and nobody logged in."""
    az = new_home(home).with_variables(**local.variables, AZURE_CONFIG_DIR=str(home / "azure"))
    az(f"cloud register --name Local --endpoint-resource-manager {local.cloud.url}")
    az("cloud set --name Local")
    return az
