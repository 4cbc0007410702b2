"""Run any local command with a managed identity: no cluster, no Azure.

There are two processes. The process of `wisp run` becomes the command, by exec: process id, exit status, signals,
terminal and files are the command's own. Before that it starts the *attendant*, which is not its child. The attendant
runs the sidecar and, without a real authority, a local cloud, and ends with them when the command does, however that
ends. The kernel reports that by a file descriptor of the process (pidfd).

`options` and `environment` decide what to run. `client` is the command's side; `attendant`, `services` and `identity`
are the other; `messages` is what the two send to each other.
"""
