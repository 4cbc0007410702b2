"""The walk-through on this machine: a cloud, a pod and its sidecar, gone without a trace when it ends.

`modes`, `story`, `claims` and `events` decide and tell, and touch nothing. `outside` is the command's own process;
`inside` runs in namespaces of its own, builds what `scene` describes and plays the story on it. `podnet`, `netns`,
`mounts` and `users` know nothing of the story: whoever needs a pod on this machine can use them.
"""
