"""The sidecar process."""
