"""The admission webhook's process: TLS, certificates that renew themselves, service accounts, health and metrics.

What a pod gets is decided by `wisp.admission`; here is what listens, reads the API server and keeps things in place.
"""
