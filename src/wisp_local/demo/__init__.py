"""The walk-through on this machine: a local cloud, a pod and its sidecar, removed without a trace at the end.

`command` is the command's own process. `inside` runs in namespaces of its own: it sets up the `stage` and runs the
steps on it, against the local cloud of `azure`. `steps` and `events` decide and describe; they do no I/O.
"""
