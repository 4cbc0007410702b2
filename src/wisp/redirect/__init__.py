"""The redirect: a pod's TCP traffic to the instance metadata service goes to the sidecar instead.

It is a convenience and not a security boundary (docs/explanation/pod-boundary.md). `plan` and `listing` decide and
touch nothing; `host` runs commands; `apply` connects them. Pods run `pod_start`, which imports as little as possible.
"""
