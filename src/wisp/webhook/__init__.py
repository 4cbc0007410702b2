"""The admission webhook's process: TLS, self-renewing certificates, service accounts, health and metrics.

`wisp.admission` decides what a pod gets; this package serves the reviews and reads the API server.
"""
