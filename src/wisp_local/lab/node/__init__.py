"""A real one-node Kubernetes without a container engine: its own programs, on this machine, in namespaces of their own.

`network`, `layout`, `programs` and `configs` decide what runs where and touch nothing; `inside` is the node's first
process; `node` starts and ends it from outside. `binaries` builds Kubernetes from its Go module, once.
"""
