"""Measures admission over TLS: `make bench-webhook`, or `python -m bench.webhook [--write]`."""
