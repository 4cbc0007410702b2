"""What every cloud has from the start."""

from tests.unit.wisp_local.cloud.arm.client import ArmClient
from tests.unit.wisp_local.cloud.small_azure import BASE_URL


def test_metadata_endpoints_need_no_token(arm: ArmClient) -> None:
    """`az cloud register` asks without a token."""
    document = arm.azure.client.get("/metadata/endpoints?api-version=2022-09-01").json()
    assert document["resourceManager"] == document["authentication"]["loginEndpoint"] == f"{BASE_URL}/"
    assert document["authentication"]["audiences"][0] == "https://management.core.windows.net/"


def test_empty_cloud_has_tenant_subscription_regions_and_providers(arm: ArmClient) -> None:
    """Tenant, subscription, regions, providers and operations."""
    (tenant,) = arm.get("/tenants")["value"]
    (subscription,) = arm.get("/subscriptions")["value"]
    assert tenant["tenantId"] == subscription["tenantId"] == arm.azure.tenant
    assert arm.get(arm.subscription)["state"] == "Enabled"
    assert arm.get(f"{arm.subscription}/locations")["value"][0]["displayName"] == "East US"
    assert len(arm.get(f"{arm.subscription}/providers")["value"]) == 4
    provider = f"{arm.subscription}/providers/microsoft.containerservice"
    for answer in (arm.ask("GET", provider), arm.ask("POST", f"{provider}/register")):
        assert answer.json()["registrationState"] == "Registered"
    assert arm.get("/providers/Microsoft.ManagedIdentity/operations")["value"]
