"""Measures token grants over TLS: `make bench-gateway`, or `python -m bench.gateway [--write]`."""
