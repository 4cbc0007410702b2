"""What things are called in pods and service accounts. Clusters carry these names already: none may change.

Labels, annotations, variables, paths and containers are those of azure-workload-identity v1.6.0; the annotations marked
"ours" are not known to it.
"""

PREFIX = "azure.workload.identity/"
USE = PREFIX + "use"
"""The label of pods that want their identity, with the value `true`: the webhook's objectSelector."""

CLIENT_ID = PREFIX + "client-id"
TENANT_ID = PREFIX + "tenant-id"
EXPIRATION = PREFIX + "service-account-token-expiration"
SKIP_CONTAINERS = PREFIX + "skip-containers"
INJECT_SIDECAR = PREFIX + "inject-proxy-sidecar"
SIDECAR_PORT = PREFIX + "proxy-sidecar-port"
USE_ENDPOINT = PREFIX + "use-"
"""With a suffix that the cluster chooses: the custom token endpoint (identity bindings)."""

SIDECAR_MODE = PREFIX + "inject-proxy-mode"
"""Ours: `redirect`, or `env` for variables in place of interception."""
PROXY_ONLY = PREFIX + "inject-proxy-only"
"""Ours: the sidecar, and the identity in it alone."""
PASSTHROUGH = PREFIX + "proxy-passthrough"
"""Ours: narrows what the sidecar passes on to the node's metadata service."""
CPU_REQUEST = PREFIX + "proxy-cpu-request"
CPU_LIMIT = PREFIX + "proxy-cpu-limit"
MEMORY_REQUEST = PREFIX + "proxy-memory-request"
MEMORY_LIMIT = PREFIX + "proxy-memory-limit"

SIDECAR_SETTINGS = (SIDECAR_PORT, SIDECAR_MODE, PASSTHROUGH, CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT)
"""Pod annotations that mean nothing without a sidecar."""
ON_PODS = frozenset({EXPIRATION, SKIP_CONTAINERS, INJECT_SIDECAR, PROXY_ONLY, *SIDECAR_SETTINGS})
ON_ACCOUNTS = frozenset({CLIENT_ID, TENANT_ID, EXPIRATION})

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""Which container `kubectl exec` and `kubectl logs` mean without -c."""

MIRROR = "kubernetes.io/config.mirror"
"""What a kubelet marks the pods with that show its static ones."""

SIDECAR = "azwi-proxy"
REDIRECT = "azwi-proxy-init"

TOKEN_FILE_VARIABLE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 -- a variable's name
"""Where this is set, Azure SDKs exchange the token themselves instead of asking for a managed identity's."""
MOUNT_PATH = "/var/run/secrets/azure/wi"
TOKEN_PATH = "token/azure-identity-token"  # noqa: S105 -- where the token is, not what
TOKEN_FILE = f"{MOUNT_PATH}/{TOKEN_PATH}"
CA_PATH = "ca-cert/ca.crt"
CA_FILE = f"{MOUNT_PATH}/{CA_PATH}"
CA_KEY = "ca.crt"
LEGACY_MOUNT_PATH = "/var/run/secrets/azure/tokens"
"""Where the token was before v1.6.0, and where older set-ups have it written down."""
LEGACY_TOKEN_PATH = "azure-identity-token"  # noqa: S105 -- likewise

VOLUME_PREFIX = "azure-workload-identity-reserved-"
LEGACY_VOLUME_PREFIX = "azure-workload-identity-legacy-"
LONGEST_VOLUME_NAME = 63

AUDIENCE = "api://AzureADTokenExchange"
DEFAULT_PORT = 8000
