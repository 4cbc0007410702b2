"""The standing lab: a local Azure that outlives the command, in a folder of its own, for the real `az` and `kubectl`.

It stands until it is ended, through crashes and restarts, with the same keys at the same address. Nothing of the user's
own Azure or Kubernetes set-up is read or written.
"""
