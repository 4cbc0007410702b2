"""Constants that several packages share. The sidecar loads this module, so it imports nothing."""

LOG_LEVELS = ("debug", "info", "warning", "error")

PEM_BEGIN = "-----BEGIN CERTIFICATE-----"
PEM_END = "-----END CERTIFICATE-----"
"""The lines around a certificate in PEM text (RFC 7468 §5)."""

CLOCK_TOLERANCE = 300.0
"""Seconds by which clocks may differ. Certificates are valid this much before they are issued."""
