"""The redirect: a pod's TCP traffic to the instance metadata service goes to the sidecar instead.

It is a convenience and not a security boundary (docs/pod-boundary.md).

`rule`, `present` and `plan` decide and touch nothing; `host` runs commands, `apply` does what the plan says.
"""
