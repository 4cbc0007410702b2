"""Paths of the repository that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The top folder of the repository."""
