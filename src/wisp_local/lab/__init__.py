"""The lab: a local Azure for the real `az` and `kubectl` that outlives the command, in one folder.

It runs until it is stopped. After a crash or a restart it has the same keys and address. The user's own configuration
of Azure and Kubernetes is neither read nor written.
"""
