"""A real Kubernetes of one node without a container engine: its own programs on this machine, in namespaces.

`network` and `configuration` decide what runs where; `node` starts and ends the node from outside, and `init` is its
first process inside. `binaries` builds Kubernetes from its Go module once, `images` reads and writes image archives.
"""
