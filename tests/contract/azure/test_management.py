"""The Azure SDK's management clients for Python against the local cloud."""

from pathlib import Path

import pytest

from tests.contract.azure.conftest import LocalAzure
from tests.contract.azure.management import tell
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.interop


def test_the_management_sdks_do_the_walk_through(local: LocalAzure, tmp_path: Path) -> None:
    """Groups, identities, twenty federated credentials in pages, a cluster's life, and the errors as exceptions."""
    with Store(local.cloud.state) as store:
        subscription, application = store.subscription(), local.application
    told = {
        "url": local.cloud.url,
        "ca_file": local.cloud.ca_file,
        "tenant": application.tenant_id,
        "client_id": application.client_id,
        "secret": local.secret.reveal(),
        "subscription": subscription.id,
    }
    seen = tell(told, tmp_path)
    assert seen["group"] == ["sdk-RG", "eastus", {"a": "b"}]
    assert (seen["exists"], seen["gone"]) == (True, False)
    assert (seen["state"], seen["tags"]) == ("Succeeded", {"e": "f"})
    assert seen["issuer"].startswith(f"{local.cloud.url}/oidc/")
    assert (seen["identity"][0], seen["identity"][2:]) == ("sdk-identity", [application.tenant_id, {"c": "d"}])
    assert seen["pages"] == [7, 7, 6]
    assert seen["too many"] == [400, "BadRequest"]
    assert seen["taken"] == [409, "Conflict"]
    assert seen["absent"] == [404, "ResourceNotFound"]
    assert seen["credentials"] == [400, "ClusterWithoutApiServer"]
    assert seen["deleted"] == [404, "ResourceNotFound"]
    assert "sdk-identity" in seen["by subscription"]
    assert seen["clusters"] == ["sdk-cluster"]
