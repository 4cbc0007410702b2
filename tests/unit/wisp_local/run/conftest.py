"""Fixtures of these tests."""

from tests.unit.wisp_local.run.fixtures import runner_fixture

__all__ = ["runner_fixture"]
