"""The Azure SDK's management clients for Python against the local cloud."""

from pathlib import Path

import pytest

from tests.contract.azure.conftest import LocalAzure
from tests.contract.azure.management import run_sdks
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.interop


def test_management_sdks_do_the_walk_through(local: LocalAzure, tmp_path: Path) -> None:
    """Groups, identities, twenty federated credentials in pages, a cluster's life, and the errors as exceptions."""
    with Store(local.cloud.state) as store:
        subscription, application = store.subscription(), local.application
    options = {
        "url": local.cloud.url,
        "ca_file": local.cloud.ca_file,
        "tenant": application.tenant_id,
        "client_id": application.client_id,
        "secret": local.secret.reveal(),
        "subscription": subscription.id,
    }
    results = run_sdks(options, tmp_path)
    assert results["group"] == ["sdk-RG", "eastus", {"a": "b"}]
    assert (results["exists"], results["gone"]) == (True, False)
    assert (results["state"], results["tags"]) == ("Succeeded", {"e": "f"})
    assert results["issuer"].startswith(f"{local.cloud.url}/oidc/")
    assert (results["identity"][0], results["identity"][2:]) == ("sdk-identity", [application.tenant_id, {"c": "d"}])
    assert results["pages"] == [7, 7, 6]
    assert results["too many"] == [400, "BadRequest"]
    assert results["taken"] == [409, "Conflict"]
    assert results["absent"] == [404, "ResourceNotFound"]
    assert results["credentials"] == [400, "ClusterWithoutApiServer"]
    assert results["deleted"] == [404, "ResourceNotFound"]
    assert "sdk-identity" in results["by subscription"]
    assert results["clusters"] == ["sdk-cluster"]
