"""Fixtures of the system tests."""

from tests.support.wisp_run import runner_fixture

__all__ = ["runner_fixture"]
