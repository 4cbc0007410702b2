"""Fixtures of these tests."""

from tests.run.fixtures import runner_fixture

__all__ = ["runner_fixture"]
