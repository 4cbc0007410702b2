"""Any local command with a managed identity: no cluster, no Azure.

Two processes. The one that was started becomes the command, by exec: its process id, its exit status, its signals, its
terminal and its files are the command's own because they are the same. Before that it starts the *attendant*, which is
nobody's child: it runs the sidecar and, where there is no real authority, a local cloud, and ends with them when the
command does, however that ends. The kernel tells it so by a file descriptor of the process (pidfd).

`wanted` and `environment` decide and touch nothing. `places`, `calling` and `becoming` are the command's side;
`attendant`, `serving`, `parts`, `local` and `podsite` the other; `messages` is what the two say to each other.
"""
