"""The webhook's certificates: decided in `decision`, issued in a process of their own, stored in the cluster.

`controller` keeps a self-issued certificate; `files` uses the one that cert-manager writes.
"""
