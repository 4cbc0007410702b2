"""Decide which resources a tenant knows, and what to request instead of one that it does not; knows no request.

A tenant has a service principal for every resource that it issues tokens for. Those of Azure's services are in the
table of `wisp_local.cloud.services`; the user's own (`api://...`) are registered in the state.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from urllib.parse import urlsplit

_LEARN = "https://learn.microsoft.com"
_FIRST_PARTY = f"{_LEARN}/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in"
_CLOUDS = f"{_LEARN}/cli/azure/manage-clouds-azure-cli"  # the endpoints that `az cloud show` prints for each cloud


class AzureCloud(Enum):
    """One of Azure's clouds; the values are the names that Azure's SDKs use."""

    PUBLIC = "AzurePublicCloud"
    US_GOVERNMENT = "AzureUSGovernmentCloud"
    CHINA = "AzureChinaCloud"
    GERMANY = "AzureGermanCloud"


PUBLIC, US_GOVERNMENT, CHINA, GERMANY = AzureCloud


@dataclass(frozen=True)
class Names:
    """What one cloud calls a service.

    A token can be requested for each of `uris`, in any case, with or without one slash at its end; the first is the
    one that the documentation recommends. It can also be requested for `https://` and a host that one of `accounts`
    describes, where `*` is one label or a part of it. The hosts below `endpoints` belong to single instances of the
    service, such as one vault, and are not resources.
    """

    uris: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """A service: `application_id` is as good a name as its URIs, `source` is where its names are documented."""

    name: str
    source: str
    names: dict[AzureCloud, Names]
    application_id: str | None = None


def _one(*uris: str, accounts: tuple[str, ...] = (), endpoints: tuple[str, ...] = ()) -> dict[AzureCloud, Names]:
    """Name a service of the public cloud alone."""
    return {PUBLIC: Names(uris, accounts, endpoints)}


RESOURCE_MANAGER = Service(
    "Azure Resource Manager",
    _CLOUDS,
    {
        PUBLIC: Names(
            ("https://management.azure.com", "https://management.core.windows.net"), endpoints=("azurewebsites.net",)
        ),
        US_GOVERNMENT: Names(
            ("https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net"),
            endpoints=("azurewebsites.us",),
        ),
        CHINA: Names(
            ("https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn"),
            endpoints=("chinacloudsites.cn",),
        ),
        GERMANY: Names(("https://management.microsoftazure.de", "https://management.core.cloudapi.de")),
    },
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",
)
MICROSOFT_GRAPH = Service(
    "Microsoft Graph",
    f"{_LEARN}/graph/deployments",
    {
        PUBLIC: Names(("https://graph.microsoft.com",)),
        US_GOVERNMENT: Names(("https://graph.microsoft.us", "https://dod-graph.microsoft.us")),
        CHINA: Names(("https://microsoftgraph.chinacloudapi.cn",)),
        GERMANY: Names(("https://graph.microsoft.de",)),
    },
    "00000003-0000-0000-c000-000000000000",
)
SERVICES = (
    RESOURCE_MANAGER,
    MICROSOFT_GRAPH,
    Service(
        "Azure AD Graph",
        _CLOUDS,
        {
            PUBLIC: Names(("https://graph.windows.net",)),
            US_GOVERNMENT: Names(("https://graph.windows.net", "https://graph.microsoftazure.us")),
            CHINA: Names(("https://graph.chinacloudapi.cn",)),
            GERMANY: Names(("https://graph.cloudapi.de",)),
        },
        "00000002-0000-0000-c000-000000000000",
    ),
    Service(
        "Token exchange for federated credentials",
        f"{_LEARN}/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity",
        {
            PUBLIC: Names(("api://AzureADTokenExchange",)),
            US_GOVERNMENT: Names(("api://AzureADTokenExchangeUSGov",)),
            CHINA: Names(("api://AzureADTokenExchangeChina",)),
        },
        "fb60f99c-7a34-4190-8149-302f77469936",
    ),
    Service(
        "Key Vault",
        f"{_LEARN}/azure/key-vault/general/authentication-requests-and-responses",
        {
            PUBLIC: Names(("https://vault.azure.net",), endpoints=("vault.azure.net", "vaultcore.azure.net")),
            US_GOVERNMENT: Names(("https://vault.usgovcloudapi.net",), endpoints=("vault.usgovcloudapi.net",)),
            CHINA: Names(("https://vault.azure.cn",), endpoints=("vault.azure.cn",)),
            GERMANY: Names(("https://vault.microsoftazure.de",), endpoints=("vault.microsoftazure.de",)),
        },
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
    ),
    Service(
        "Managed HSM",
        f"{_LEARN}/azure/key-vault/managed-hsm/access-control",
        {
            PUBLIC: Names(("https://managedhsm.azure.net",), endpoints=("managedhsm.azure.net",)),
            US_GOVERNMENT: Names(
                ("https://managedhsm.usgovcloudapi.net",), endpoints=("managedhsm.usgovcloudapi.net",)
            ),
            CHINA: Names(("https://managedhsm.azure.cn",), endpoints=("managedhsm.azure.cn",)),
            GERMANY: Names(("https://managedhsm.microsoftazure.de",), endpoints=("managedhsm.microsoftazure.de",)),
        },
    ),
    Service(
        "Storage",
        f"{_LEARN}/azure/storage/blobs/authorize-access-azure-active-directory",
        {
            cloud: Names(
                ("https://storage.azure.com",),
                accounts=tuple(f"*.{kind}.{suffix}" for kind in ("blob", "dfs", "file", "queue", "table")),
            )
            for cloud, suffix in (
                (PUBLIC, "core.windows.net"),
                (US_GOVERNMENT, "core.usgovcloudapi.net"),
                (CHINA, "core.chinacloudapi.cn"),
                (GERMANY, "core.cloudapi.de"),
            )
        },
        "e406a681-f3d4-42a8-90b6-c2b029497af1",
    ),
    Service(
        "App Configuration",
        f"{_LEARN}/azure/azure-app-configuration/rest-api-authentication-azure-ad",
        {
            PUBLIC: Names(("https://appconfig.azure.com", "https://azconfig.io"), accounts=("*.azconfig.io",)),
            US_GOVERNMENT: Names(("https://appconfig.azure.us",), accounts=("*.azconfig.azure.us",)),
            CHINA: Names(("https://appconfig.azure.cn",), accounts=("*.azconfig.azure.cn",)),
        },
        "35ffadb3-7fc1-497e-b61b-381d28e744cc",
    ),
    Service(
        "Azure Monitor ingestion",
        f"{_LEARN}/azure/azure-monitor/logs/logs-ingestion-api-overview",
        {
            PUBLIC: Names(("https://monitor.azure.com",), endpoints=("ingest.monitor.azure.com",)),
            US_GOVERNMENT: Names(("https://monitor.azure.us",), endpoints=("ingest.monitor.azure.us",)),
            CHINA: Names(("https://monitor.azure.cn",), endpoints=("ingest.monitor.azure.cn",)),
        },
        "e933bd07-d2ee-4f1d-933c-3752b819567b",
    ),
    Service(
        "Azure Monitor metrics",
        f"{_LEARN}/azure/azure-monitor/metrics/migrate-to-batch-api",
        {
            PUBLIC: Names(("https://metrics.monitor.azure.com",), endpoints=("metrics.monitor.azure.com",)),
            US_GOVERNMENT: Names(("https://metrics.monitor.azure.us",), endpoints=("metrics.monitor.azure.us",)),
            CHINA: Names(("https://metrics.monitor.azure.cn",), endpoints=("metrics.monitor.azure.cn",)),
        },
    ),
    Service(
        "Azure Monitor managed service for Prometheus",
        f"{_LEARN}/azure/azure-monitor/metrics/prometheus-api-promql",
        {
            PUBLIC: Names(("https://prometheus.monitor.azure.com",), endpoints=("prometheus.monitor.azure.com",)),
            US_GOVERNMENT: Names(("https://prometheus.monitor.azure.us",), endpoints=("prometheus.monitor.azure.us",)),
            CHINA: Names(("https://prometheus.monitor.azure.cn",), endpoints=("prometheus.monitor.azure.cn",)),
        },
    ),
    Service(
        "Log Analytics",
        f"{_LEARN}/azure/azure-monitor/logs/api/access-api",
        {
            PUBLIC: Names(
                (
                    "https://api.loganalytics.io",
                    "https://westus2.api.loganalytics.io",
                    "https://westcentralus.api.loganalytics.io",
                    "https://eastus.api.loganalytics.io",
                    "https://westeurope.api.loganalytics.io",
                    "https://southeastasia.api.loganalytics.io",
                    "https://australiasoutheast.api.loganalytics.io",
                ),
                endpoints=("api.loganalytics.azure.com",),
            ),
            US_GOVERNMENT: Names(("https://api.loganalytics.us",)),
            CHINA: Names(("https://api.loganalytics.azure.cn",)),
        },
        "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5",
    ),
    Service(
        "Application Insights API",
        _CLOUDS,
        {
            PUBLIC: Names(("https://api.applicationinsights.io",)),
            US_GOVERNMENT: Names(("https://api.applicationinsights.us",)),
            CHINA: Names(("https://api.applicationinsights.azure.cn",)),
        },
        "f5c26e74-f226-4ae8-85f0-b4af0080ac9e",
    ),
    Service(
        "Azure DevOps",
        f"{_LEARN}/azure/devops/integrate/get-started/authentication/service-principal-managed-identity",
        _one(
            "https://app.vssps.visualstudio.com",
            "https://analytics.dev.azure.com",
            endpoints=("dev.azure.com", "visualstudio.com"),
        ),
        "499b84ac-1321-427f-aa17-267ca6975798",
    ),
    Service(
        "Container Registry",
        f"{_LEARN}/azure/container-registry/container-registry-disable-authentication-as-arm",
        _one("https://containerregistry.azure.net", endpoints=("azurecr.io",)),
        "76c92352-c057-4cc2-9b1e-f34c32bc58bd",
    ),
    Service(
        "Service Bus",
        f"{_LEARN}/azure/service-bus-messaging/authenticate-application",
        dict.fromkeys(AzureCloud, Names(("https://servicebus.azure.net",))),
        "80a10ef9-8168-493d-abf9-3297c4ef6e3c",
    ),
    Service(
        "Event Hubs",
        f"{_LEARN}/azure/event-hubs/authorize-access-azure-active-directory",
        {
            PUBLIC: Names(("https://eventhubs.azure.net",), accounts=("*.servicebus.windows.net",)),
            US_GOVERNMENT: Names(("https://eventhubs.azure.net",), accounts=("*.servicebus.usgovcloudapi.net",)),
            CHINA: Names(("https://eventhubs.azure.net",), accounts=("*.servicebus.chinacloudapi.cn",)),
            GERMANY: Names(("https://eventhubs.azure.net",), accounts=("*.servicebus.cloudapi.de",)),
        },
        "80369ed6-5f11-4dd9-bef3-692475845e77",
    ),
    Service(
        "Azure Relay",
        f"{_LEARN}/azure/azure-relay/authenticate-application",
        _one("https://relay.azure.net"),
    ),
    Service(
        "Event Grid",
        f"{_LEARN}/azure/event-grid/authenticate-with-microsoft-entra-id",
        _one("https://eventgrid.azure.net", endpoints=("eventgrid.azure.net",)),
        "823c0a78-5de0-4445-a7f5-c2f42d7dc89b",
    ),
    Service(
        "Cosmos DB",
        f"{_LEARN}/azure/cosmos-db/how-to-setup-rbac",
        {
            PUBLIC: Names(("https://cosmos.azure.com",), accounts=("*.documents.azure.com",)),
            US_GOVERNMENT: Names(accounts=("*.documents.azure.us",)),
            CHINA: Names(accounts=("*.documents.azure.cn",)),
        },
        "a232010e-820c-4083-83bb-3ace5fc29d0b",
    ),
    Service(
        "Cosmos DB for PostgreSQL",
        f"{_LEARN}/azure/cosmos-db/postgresql/how-to-configure-authentication",
        _one(
            "https://token.postgres.cosmos.azure.com",
            "https://postgres.cosmos.azure.com",
            endpoints=("postgres.cosmos.azure.com",),
        ),
        "b4fa09d8-5da5-4352-83d9-05c2a44cf431",
    ),
    Service(
        "Azure SQL and Synapse SQL",
        f"{_LEARN}/azure/azure-sql/database/authentication-aad-overview",
        {
            PUBLIC: Names(
                ("https://database.windows.net", "https://sql.azuresynapse.net"),
                endpoints=("database.windows.net", "sql.azuresynapse.net"),
            ),
            US_GOVERNMENT: Names(
                ("https://database.usgovcloudapi.net",),
                endpoints=("database.usgovcloudapi.net", "sql.azuresynapse.usgovcloudapi.net"),
            ),
            CHINA: Names(
                ("https://database.chinacloudapi.cn",),
                endpoints=("database.chinacloudapi.cn", "sql.azuresynapse.azure.cn"),
            ),
            GERMANY: Names(("https://database.cloudapi.de",), endpoints=("database.cloudapi.de",)),
        },
        "022907d3-0f1b-48f7-badc-1ba6abab6d66",
    ),
    Service(
        "Azure Database for PostgreSQL and MySQL",
        f"{_LEARN}/azure/postgresql/flexible-server/how-to-configure-sign-in-azure-ad-authentication",
        {
            PUBLIC: Names(
                ("https://ossrdbms-aad.database.windows.net",),
                endpoints=("postgres.database.azure.com", "mysql.database.azure.com", "mariadb.database.azure.com"),
            ),
            US_GOVERNMENT: Names(
                ("https://ossrdbms-aad.database.usgovcloudapi.net",),
                endpoints=("postgres.database.usgovcloudapi.net", "mysql.database.usgovcloudapi.net"),
            ),
            CHINA: Names(
                ("https://ossrdbms-aad.database.chinacloudapi.cn",),
                endpoints=("postgres.database.chinacloudapi.cn", "mysql.database.chinacloudapi.cn"),
            ),
            GERMANY: Names(("https://ossrdbms-aad.database.cloudapi.de",)),
        },
        "123cd850-d9df-40bd-94d5-c9f07b7fa203",
    ),
    Service(
        "Azure AI Search",
        f"{_LEARN}/azure/search/search-security-rbac-client-code",
        {
            PUBLIC: Names(("https://search.azure.com",), endpoints=("search.windows.net",)),
            US_GOVERNMENT: Names(("https://search.azure.us",), endpoints=("search.azure.us",)),
            CHINA: Names(("https://search.azure.cn",), endpoints=("search.azure.cn",)),
        },
        "880da380-985e-4198-81b9-e05b1cc53158",
    ),
    Service(
        "Azure AI services and Azure OpenAI",
        f"{_LEARN}/azure/ai-services/authentication",
        {
            PUBLIC: Names(
                ("https://cognitiveservices.azure.com",),
                endpoints=(
                    "cognitiveservices.azure.com",
                    "openai.azure.com",
                    "services.ai.azure.com",
                    "api.cognitive.microsoft.com",
                    "speech.microsoft.com",
                ),
            ),
            US_GOVERNMENT: Names(
                ("https://cognitiveservices.azure.us",),
                endpoints=("cognitiveservices.azure.us", "openai.azure.us", "services.ai.azure.us"),
            ),
            CHINA: Names(("https://cognitiveservices.azure.cn",), endpoints=("cognitiveservices.azure.cn",)),
        },
        "7d312290-28c8-473c-a0ed-8e53749b6d6d",
    ),
    Service(
        "Microsoft Foundry",
        f"{_LEARN}/azure/ai-foundry/how-to/develop/sdk-overview",
        {PUBLIC: Names(("https://ai.azure.com",)), US_GOVERNMENT: Names(("https://ai.azure.us",))},
    ),
    Service(
        "Azure Machine Learning",
        f"{_LEARN}/azure/machine-learning/how-to-authenticate-online-endpoint",
        {
            PUBLIC: Names(("https://ml.azure.com",), endpoints=("inference.ml.azure.com", "api.azureml.ms")),
            US_GOVERNMENT: Names(("https://ml.azure.us",), endpoints=("inference.ml.azure.us",)),
            CHINA: Names(("https://ml.azure.cn",)),
        },
        "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe",
    ),
    Service(
        "Batch",
        f"{_LEARN}/azure/batch/batch-aad-auth",
        {
            PUBLIC: Names(("https://batch.core.windows.net",), endpoints=("batch.azure.com",)),
            US_GOVERNMENT: Names(("https://batch.core.usgovcloudapi.net",), endpoints=("batch.usgovcloudapi.net",)),
            CHINA: Names(("https://batch.chinacloudapi.cn",), endpoints=("batch.chinacloudapi.cn",)),
            GERMANY: Names(("https://batch.cloudapi.de",), endpoints=("batch.cloudapi.de",)),
        },
        "ddbf3205-c6bd-46ae-8127-60eb93363864",
    ),
    Service(
        "Data Lake Storage Gen1",
        f"{_LEARN}/previous-versions/azure/data-lake-store/data-lakes-store-authentication-using-azure-active-directory",
        _one("https://datalake.azure.net", endpoints=("azuredatalakestore.net",)),
        "e9f49c6b-5ce5-44c8-925d-015017e9f7ad",
    ),
    Service(
        "Data Explorer",
        f"{_LEARN}/kusto/api/rest/authenticate-with-msal",
        {
            PUBLIC: Names(
                ("https://kusto.kusto.windows.net",), accounts=("*.kusto.windows.net", "*.*.kusto.windows.net")
            ),
            US_GOVERNMENT: Names(
                ("https://kusto.kusto.usgovcloudapi.net",),
                accounts=("*.kusto.usgovcloudapi.net", "*.*.kusto.usgovcloudapi.net"),
            ),
            CHINA: Names(
                ("https://kusto.kusto.chinacloudapi.cn",),
                accounts=("*.kusto.chinacloudapi.cn", "*.*.kusto.chinacloudapi.cn"),
            ),
            GERMANY: Names(accounts=("*.*.kusto.cloudapi.de",)),
        },
        "2746ea77-4702-4b45-80ca-3c97e680e8b7",
    ),
    Service(
        "Synapse workspaces",
        f"{_LEARN}/rest/api/synapse/",
        {
            PUBLIC: Names(("https://dev.azuresynapse.net",), endpoints=("dev.azuresynapse.net",)),
            US_GOVERNMENT: Names(
                ("https://dev.azuresynapse.usgovcloudapi.net",), endpoints=("dev.azuresynapse.usgovcloudapi.net",)
            ),
            CHINA: Names(("https://dev.azuresynapse.azure.cn",), endpoints=("dev.azuresynapse.azure.cn",)),
        },
    ),
    Service(
        "Microsoft Purview",
        f"{_LEARN}/purview/data-gov-api-rest-data-plane",
        _one("https://purview.azure.net", endpoints=("purview.azure.com",)),
        "73c2949e-da2d-457a-9607-fcc665198967",
    ),
    Service(
        "Azure Maps",
        f"{_LEARN}/azure/azure-maps/azure-maps-authentication",
        {PUBLIC: Names(("https://atlas.microsoft.com",)), US_GOVERNMENT: Names(("https://atlas.azure.us",))},
        "ba1ea022-5807-41d5-bbeb-292c7e1cf5f6",
    ),
    Service(
        "SignalR Service and Web PubSub",
        f"{_LEARN}/azure/azure-signalr/signalr-howto-authorize-application",
        _one(
            "https://signalr.azure.com",
            "https://webpubsub.azure.com",
            endpoints=("service.signalr.net", "webpubsub.azure.com"),
        ),
        "cdad765c-f191-43ba-b9f5-7aef392f811d",
    ),
    Service(
        "Communication Services",
        f"{_LEARN}/azure/communication-services/concepts/authentication",
        _one("https://communication.azure.com", endpoints=("communication.azure.com",)),
    ),
    Service(
        "IoT Hub",
        f"{_LEARN}/azure/iot-hub/authenticate-authorize-azure-ad",
        {
            PUBLIC: Names(("https://iothubs.azure.net",), endpoints=("azure-devices.net",)),
            US_GOVERNMENT: Names(("https://iothubs.azure.us",), endpoints=("azure-devices.us",)),
        },
    ),
    Service(
        "IoT Hub Device Provisioning Service",
        f"{_LEARN}/azure/iot-dps/concepts-control-access-dps-azure-ad",
        _one("https://azure-devices-provisioning.net", endpoints=("azure-devices-provisioning.net",)),
        "0cd79364-7a90-4354-9984-6e36c841418d",
    ),
    Service(
        "IoT Central",
        f"{_LEARN}/azure/iot-central/core/howto-authorize-rest-api",
        _one("https://apps.azureiotcentral.com", endpoints=("azureiotcentral.com",)),
    ),
    Service(
        "Device Update for IoT Hub",
        f"{_LEARN}/azure/iot-hub-device-update/device-update-control-access",
        _one("https://api.adu.microsoft.com", endpoints=("api.adu.microsoft.com",)),
    ),
    Service(
        "Azure Digital Twins",
        f"{_LEARN}/azure/digital-twins/how-to-use-postman-with-digital-twins",
        _one("https://digitaltwins.azure.net", endpoints=("digitaltwins.azure.net",)),
        "0b07f429-9f4b-4714-9392-cc5e8e80c8b0",
    ),
    Service(
        "Power BI and Microsoft Fabric",
        f"{_LEARN}/power-bi/developer/embedded/embed-sample-for-customers-national-clouds",
        {
            PUBLIC: Names(("https://analysis.windows.net/powerbi/api", "https://api.fabric.microsoft.com")),
            US_GOVERNMENT: Names(
                (
                    "https://analysis.usgovcloudapi.net/powerbi/api",
                    "https://high.analysis.usgovcloudapi.net/powerbi/api",
                    "https://mil.analysis.usgovcloudapi.net/powerbi/api",
                )
            ),
            CHINA: Names(("https://analysis.chinacloudapi.cn/powerbi/api",)),
        },
        "00000009-0000-0000-c000-000000000000",
    ),
    Service(
        "Azure Kubernetes Service",
        f"{_LEARN}/azure/aks/kubelogin-authentication",
        {
            PUBLIC: Names(("https://aks-aad-server.azure.com",), endpoints=("azmk8s.io",)),
            US_GOVERNMENT: Names(endpoints=("cx.aks.containerservice.azure.us",)),
            CHINA: Names(endpoints=("cx.prod.service.azk8s.cn",)),
        },
        "6dae42f8-4368-4678-94ff-3960e28e3630",
    ),
    Service(
        "Azure Arc-enabled Kubernetes",
        f"{_LEARN}/azure/azure-arc/kubernetes/azure-rbac",
        _one(),
        "6256c85f-0aad-4d50-b960-e6e9b21efe35",
    ),
    Service(
        "Azure Databricks",
        f"{_LEARN}/azure/databricks/dev-tools/auth/app-aad-token",
        {
            PUBLIC: Names(("https://azuredatabricks.net",), endpoints=("azuredatabricks.net",)),
            US_GOVERNMENT: Names(endpoints=("databricks.azure.us",)),
            CHINA: Names(endpoints=("databricks.azure.cn",)),
        },
        "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
    ),
    Service(
        "Dataverse",
        f"{_LEARN}/power-apps/developer/data-platform/authenticate-oauth",
        {
            PUBLIC: Names(accounts=("*.crm.dynamics.com", "*.crm*.dynamics.com")),
            US_GOVERNMENT: Names(accounts=("*.crm.microsoftdynamics.us", "*.crm.appsplatform.us")),
            CHINA: Names(accounts=("*.crm.dynamics.cn",)),
        },
        "00000007-0000-0000-c000-000000000000",
    ),
    Service(
        "Dynamics 365 finance and operations",
        f"{_LEARN}/dynamics365/fin-ops-core/dev-itpro/data-entities/services-home-page",
        _one(accounts=("*.operations.dynamics.com", "*.operations.*.dynamics.com")),
        "00000015-0000-0000-c000-000000000000",
    ),
    Service(
        "Dynamics 365 Business Central",
        f"{_LEARN}/dynamics365/business-central/dev-itpro/administration/automation-apis-using-s2s-authentication",
        _one("https://api.businesscentral.dynamics.com"),
        "996def3d-b36c-4153-8607-a6fd3c01b89f",
    ),
    Service(
        "Power Apps",
        f"{_LEARN}/power-platform/admin/powershell-create-service-principal",
        _one("https://service.powerapps.com", "https://api.powerapps.com"),
        "475226c6-020e-4fb2-8a90-7a972cbfc1d4",
    ),
    Service(
        "Power Platform API",
        f"{_LEARN}/power-platform/admin/programmability-authentication-v2",
        _one("https://api.powerplatform.com"),
        "8578e004-a5c6-46e7-913e-12f58912df43",
    ),
    Service(
        "Power Automate",
        f"{_LEARN}/power-automate/oauth-authentication",
        _one("https://service.flow.microsoft.com"),
        "7df0a125-d3be-4c96-aa54-591f83ff541c",
    ),
    Service(
        "Azure Managed Redis and Azure Cache for Redis",
        f"{_LEARN}/azure/redis/entra-for-authentication",
        _one(
            "https://redis.azure.com",
            endpoints=("redis.azure.net", "redis.cache.windows.net", "redisenterprise.cache.azure.net"),
        ),
        "acca5fbb-b7e4-4009-81f1-37e38fd66d78",
    ),
    Service(
        "Media Services",
        _CLOUDS,
        {
            PUBLIC: Names(("https://rest.media.azure.net", "https://armrp.media.azure.net")),
            US_GOVERNMENT: Names(("https://rest.media.usgovcloudapi.net",)),
            CHINA: Names(("https://rest.media.chinacloudapi.cn",)),
            GERMANY: Names(("https://rest.media.cloudapi.de",)),
        },
        "374b2a64-3b6b-436b-934c-b820eacca870",
    ),
    Service(
        "Azure Attestation",
        _CLOUDS,
        _one("https://attest.azure.net", endpoints=("attest.azure.net",)),
    ),
    Service(
        "Azure confidential ledger",
        f"{_LEARN}/azure/confidential-ledger/authentication-azure-ad",
        _one("https://confidential-ledger.azure.com", endpoints=("confidential-ledger.azure.com",)),
    ),
    Service(
        "Azure Quantum",
        f"{_LEARN}/rest/api/azurequantum/",
        _one("https://quantum.microsoft.com", endpoints=("quantum.azure.com",)),
    ),
    Service(
        "Azure Load Testing",
        f"{_LEARN}/rest/api/loadtesting/",
        _one("https://cnt-prod.loadtesting.azure.com", endpoints=("cnt-prod.loadtesting.azure.com",)),
    ),
    Service(
        "Azure Health Data Services, FHIR",
        f"{_LEARN}/azure/healthcare-apis/get-access-token",
        {
            PUBLIC: Names(
                ("https://azurehealthcareapis.com", "https://fhir.azurehealthcareapis.com"),
                accounts=("*.azurehealthcareapis.com", "*.fhir.azurehealthcareapis.com"),
            ),
            US_GOVERNMENT: Names(accounts=("*.azurehealthcareapis.us", "*.fhir.azurehealthcareapis.us")),
        },
        "4f6778d8-5aef-43dc-a1ff-b073724b9495",
    ),
    Service(
        "Azure Health Data Services, DICOM",
        f"{_LEARN}/azure/healthcare-apis/get-access-token",
        _one("https://dicom.healthcareapis.azure.com", endpoints=("dicom.azurehealthcareapis.com",)),
        "75e725bf-66ce-4cea-9b9a-5c4caae57f33",
    ),
    Service(
        "Azure Health Data Services, de-identification",
        f"{_LEARN}/azure/healthcare-apis/deidentification/quickstart-sdk-net",
        _one("https://deid.azure.com", endpoints=("deid.azure.com",)),
    ),
    Service(
        "API Management credential manager",
        f"{_LEARN}/azure/api-management/get-authorization-context-policy",
        _one("https://azure-api.net/authorization-manager"),
    ),
    Service(
        "Logic Apps",
        f"{_LEARN}/azure/logic-apps/logic-apps-securing-a-logic-app",
        _one("https://logic.azure.com", endpoints=("logic.azure.com",)),
        "7cd684f4-8a78-49b0-91ec-6a35d38739ba",
    ),
    Service(
        "API connections",
        f"{_LEARN}/azure/logic-apps/authenticate-with-managed-identity",
        _one("https://apihub.azure.com"),
        "fe053c5f-3692-4f14-aef2-ee34fc081cae",
    ),
    Service(
        "Azure Managed Grafana",
        f"{_LEARN}/azure/managed-grafana/how-to-api-calls",
        _one(endpoints=("grafana.azure.com",)),
        "ce34e7e5-485f-4d76-964f-b3d2b16d1e4f",
    ),
    Service(
        "Remote Rendering and Mixed Reality",
        f"{_LEARN}/azure/remote-rendering/how-tos/authentication",
        _one("https://sts.mixedreality.azure.com", endpoints=("mixedreality.azure.com",)),
        "c7ddd9b4-5172-4e28-bd29-1e0792947d18",
    ),
    Service(
        "Time Series Insights",
        f"{_LEARN}/azure/time-series-insights/time-series-insights-authentication-and-authorization",
        _one("https://api.timeseries.azure.com", endpoints=("env.timeseries.azure.com",)),
        "120d688d-1518-4cf7-bd38-182f158850b6",
    ),
    Service(
        "Analysis Services",
        f"{_LEARN}/azure/analysis-services/analysis-services-async-refresh",
        {
            cloud: Names((f"https://*.{host}",), accounts=(f"*.{host}",))  # the first is requested with its asterisk
            for cloud, host in (
                (PUBLIC, "asazure.windows.net"),
                (US_GOVERNMENT, "asazure.usgovcloudapi.net"),
                (CHINA, "asazure.chinacloudapi.cn"),
                (GERMANY, "asazure.cloudapi.de"),
            )
        },
        "4ac7d521-0382-477b-b0f8-7e1d95f85ca2",
    ),
    Service(
        "HDInsight",
        f"{_LEARN}/azure/hdinsight/kafka/rest-proxy",
        _one("https://hib.azurehdinsight.net", endpoints=("azurehdinsight.net",)),
        "7865c1d2-f040-46cc-875f-831a1ef6a28a",
    ),
    Service(
        "Dev Center, Deployment Environments and Dev Box",
        f"{_LEARN}/rest/api/devcenter/",
        _one("https://devcenter.azure.com", endpoints=("devcenter.azure.com",)),
        "e526e72f-ffae-44a0-8dac-cf14b8bd40e2",
    ),
    Service(
        "Container Apps dynamic sessions",
        f"{_LEARN}/azure/container-apps/sessions-usage",
        _one("https://dynamicsessions.io", "https://acasessions.io", endpoints=("dynamicsessions.io",)),
        "2c7dd73f-7a21-485b-b97d-a2508fa152c3",
    ),
    Service(
        "Durable Task Scheduler",
        f"{_LEARN}/azure/azure-functions/durable/durable-task-scheduler/durable-task-scheduler-identity",
        _one("https://durabletask.io", endpoints=("durabletask.io",)),
        "887c6b43-ba92-4adb-a82b-73670fc48dac",
    ),
    Service(
        "Artifact Signing",
        f"{_LEARN}/azure/trusted-signing/how-to-signing-integrations",
        _one("https://codesigning.azure.net", endpoints=("codesigning.azure.net",)),
    ),
    Service(
        "Azure Virtual Desktop",
        _FIRST_PARTY,
        {
            PUBLIC: Names(("https://www.wvd.microsoft.com",)),
            US_GOVERNMENT: Names(("https://www.wvd.azure.us",)),
        },
        "9cdead84-a844-4324-93f2-b2e6bb768d07",
    ),
    Service(
        "Verifiable credentials",
        f"{_LEARN}/entra/verified-id/get-started-request-api",
        _one(),
        "3db474b9-6a0c-4840-96ac-1fceb342124f",
    ),
    Service(
        "Bot Framework",
        f"{_LEARN}/azure/bot-service/rest-api/bot-framework-rest-connector-authentication",
        {
            PUBLIC: Names(("https://api.botframework.com",)),
            US_GOVERNMENT: Names(("https://api.botframework.us",)),
        },
    ),
    Service(
        "Microsoft Defender for Endpoint",
        f"{_LEARN}/defender-endpoint/api/exposed-apis-create-app-webapp",
        {
            PUBLIC: Names(("https://api.securitycenter.microsoft.com",)),
            US_GOVERNMENT: Names(
                ("https://api-gov.securitycenter.microsoft.us", "https://api-gcc.securitycenter.microsoft.us")
            ),
        },
        "fc780465-2017-40d4-a0c5-307022471b92",
    ),
    Service(
        "Microsoft Defender XDR",
        f"{_LEARN}/defender-xdr/api-hello-world",
        {
            PUBLIC: Names(("https://api.security.microsoft.com",)),
            US_GOVERNMENT: Names(("https://api-gov.security.microsoft.us", "https://api-gcc.security.microsoft.us")),
        },
        "8ee8fdad-f234-4243-8f3b-15c294843740",
    ),
    Service(
        "Office 365 Management APIs",
        f"{_LEARN}/office/office-365-management-api/get-started-with-office-365-management-apis",
        {PUBLIC: Names(("https://manage.office.com",)), US_GOVERNMENT: Names(("https://manage.office365.us",))},
        "c5393580-f805-4401-95e8-94b7a6ef2fc2",
    ),
    Service(
        "Exchange Online",
        f"{_LEARN}/exchange/client-developer/legacy-protocols/"
        "how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth",
        {
            PUBLIC: Names(("https://outlook.office365.com", "https://outlook.office.com")),
            US_GOVERNMENT: Names(("https://outlook.office365.us",)),
            CHINA: Names(("https://partner.outlook.cn",)),
        },
        "00000002-0000-0ff1-ce00-000000000000",
    ),
    Service(
        "SharePoint Online",
        f"{_LEARN}/sharepoint/dev/solution-guidance/security-apponly-azuread",
        {
            PUBLIC: Names(accounts=("*.sharepoint.com",)),
            US_GOVERNMENT: Names(accounts=("*.sharepoint.us",)),
            CHINA: Names(accounts=("*.sharepoint.cn",)),
        },
        "00000003-0000-0ff1-ce00-000000000000",
    ),
)
"""Every service that can be requested without being registered; docs/reference/cloud.md explains the rules."""


_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/][^\s]*|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Suggestion:
    """The service that a refused resource belongs to, the cloud it belongs to there, and what to request."""

    service: str
    cloud: AzureCloud
    resource: str


@dataclass(frozen=True)
class _Index:
    """The table for one cloud: names in the form of `_plain`, URLs of accounts, and every host of a service."""

    names: frozenset[str]
    accounts: re.Pattern[str]
    hosts: Mapping[str, Service]


def is_resource(text: str) -> bool:
    """Tell whether `text` can be the audience of an access token: a URI with a host, or a GUID."""
    return _RESOURCE.fullmatch(text) is not None


def is_known(audience: str, registered: Collection[str], cloud: AzureCloud = PUBLIC) -> bool:
    """Tell whether a token can be issued for `audience` in `cloud`; `registered` are the tenant's own resources.

    Case does not matter, nor does one slash at the end: service principals are found by either form.
    """
    plain, index = _plain(audience), _index(cloud)
    return plain in index.names or plain in map(_plain, registered) or index.accounts.fullmatch(plain) is not None


def suggest(audience: str, cloud: AzureCloud = PUBLIC) -> Suggestion | None:
    """Return what to request instead of an unknown `audience` on a host of a service, here or in another cloud."""
    for each in (cloud, *(other for other in AzureCloud if other is not cloud)):
        service = _service_of(audience, each)
        if service is not None:
            return Suggestion(service.name, each, recommended(service, cloud))
    return None


def recommended(service: Service, cloud: AzureCloud) -> str:
    """Return the name of `service` to request in `cloud`: its first URI, else its application id; may be empty."""
    names = service.names.get(cloud)
    if names is None:
        return ""
    return names.uris[0] if names.uris else service.application_id or ""


def _service_of(audience: str, cloud: AzureCloud) -> Service | None:
    """Return the service that `audience` is a name of in `cloud`, or whose host it is on or below."""
    plain = _plain(audience)
    for service in SERVICES:
        names = service.names.get(cloud)
        if names is not None and (plain in map(_plain, names.uris) or _pattern(names.accounts).fullmatch(plain)):
            return service
    hosts, labels = _index(cloud).hosts, _host(audience).split(".")
    suffixes = (".".join(labels[start:]) for start in range(len(labels)))
    return next((hosts[each] for each in suffixes if each in hosts), None)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@cache
def _index(cloud: AzureCloud) -> _Index:
    rows = [(service, service.names[cloud]) for service in SERVICES if cloud in service.names]
    return _Index(
        frozenset(
            _plain(each)
            for service, names in rows
            for each in (*names.uris, service.application_id)
            if each is not None
        ),
        _pattern(tuple(each for _, names in rows for each in names.accounts)),
        {
            **{_host(each): service for service, names in rows for each in names.uris if each.startswith("https:")},
            **{each: service for service, names in rows for each in names.endpoints},
        },
    )


@cache
def _pattern(accounts: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of the URLs of `accounts`; of none at all it matches nothing."""
    hosts = (re.escape(each).replace(r"\*", "[a-z0-9-]+") for each in accounts)
    return re.compile(f"https://(?:{'|'.join(hosts)})" if accounts else "(?!)", re.ASCII)


def _plain(resource: str) -> str:
    return resource.removesuffix("/").lower()
