"""Limits of what the webhook accepts. They bound the memory and time that one request can take."""

BODY = 3 * 1024 * 1024 + 512 * 1024
"""Bytes of a review.

API servers take requests of 3 MiB (k8s.io/apiserver, pkg/server/config.go, MaxRequestBodyBytes); the rest is for the
review around the pod and the defaults that the API server has filled in.
"""
PATCH = 1024 * 1024
"""Bytes of a JSON patch."""
CONTAINERS = 1000
"""Containers and init containers, besides ours, of a pod that gets its identity.

A pod that is being created has no ephemeral containers.
"""
VALUES = 75_000
"""Members and list elements in the spec of a pod that gets its identity."""
METADATA = 512 * 1024
"""Bytes of labels and annotations, as JSON. Kubernetes allows 256 KiB of annotations, and JSON's escapes are longer."""
SKIPPED = CONTAINERS
"""Names in the annotation skip-containers."""
