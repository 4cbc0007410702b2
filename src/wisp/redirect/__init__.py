"""The redirect: a pod's TCP traffic to the instance metadata service goes to the sidecar instead.

It is a convenience and not a security boundary (docs/explanation/pod-boundary.md). `plan` decides and touches
nothing; `apply` runs commands. Pods run `pod_start`, which imports as little as possible.
"""
