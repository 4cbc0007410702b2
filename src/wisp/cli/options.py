"""Groups of options that several commands share: a command gets one record instead of their values."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click


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
