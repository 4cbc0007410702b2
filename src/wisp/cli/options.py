"""Options that several commands share: groups, of which a command gets one record, and a type for numbers."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """Finite numbers in a range: Python also reads `nan` and `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def option_group(
    name: str, build: Callable[..., Any], options: Sequence[Callable[[Any], Any]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds `options` to a command, which is called with `build(**values)` as argument `name`.

    `build` may raise SettingError naming the wrong option.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        names: list[str] = []

        @functools.wraps(function)
        def with_record(**values: Any) -> Any:
            record = build(**{option: values.pop(option) for option in names})
            return function(**{name: record}, **values)

        decorated: Any = with_record
        others = {parameter.name for parameter in _parameters(decorated)}
        for option in reversed(options):
            decorated = option(decorated)
        names += [parameter.name or "" for parameter in _parameters(decorated) if parameter.name not in others]
        return with_record

    return decorate


def _parameters(function: Any) -> list[click.Parameter]:
    return list(getattr(function, "__click_params__", ()))  # where click's decorators collect them
