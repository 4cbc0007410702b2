"""wisp: the Workload Identity Sidecar Proxy."""

__version__ = "0.1.0"

SIDECAR_UID = 1501
"""User and group of the sidecar. The redirect exempts this user, so its requests reach the node's metadata service.

Defined here because the redirect container, for which every pod waits, loads no further module for it.
"""
