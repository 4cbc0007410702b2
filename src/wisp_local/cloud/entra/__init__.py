"""Entra: the token endpoint, and the decisions behind it."""
