"""Fixtures of these tests."""

from tests.support.runs import runner_fixture

__all__ = ["runner_fixture"]
