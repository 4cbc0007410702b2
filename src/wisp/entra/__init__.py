"""Tokens from Microsoft Entra: what is said (messages, interpret), when (freshness, tokens), by whom (exchange)."""
