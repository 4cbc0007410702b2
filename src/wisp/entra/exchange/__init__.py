"""The exchange process: reads the assertion, talks TLS to Entra, and returns tokens to the sidecar.

Memory does not matter here, and no byte that a workload sent is parsed here.
"""
