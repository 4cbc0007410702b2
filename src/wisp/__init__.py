"""wisp: the Workload Identity Sidecar Proxy."""

__version__ = "0.1.0"
