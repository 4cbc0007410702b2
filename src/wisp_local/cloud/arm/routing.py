"""Which resource a path names, whatever its case; knows neither what exists nor what becomes of it.

Resource ids ignore case, and `az` uses that (`resourcegroups`); what a path calls things is kept as it was written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote

Target = TypeVar("Target")


@dataclass(frozen=True)
class Found(Generic[Target]):
    """What answers, and the names in the path."""

    target: Target
    names: Mapping[str, str]


@dataclass(frozen=True)
class WrongMethod:
    """The path is known, for these methods."""

    allowed: tuple[str, ...]


@dataclass(frozen=True)
class Unknown:
    """No template fits."""


class Table(Generic[Target]):
    """Targets by `METHOD /path/with/{names}`; a template that begins with `{scope}` takes any path before the rest."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._routes = [(*_template(each), target) for each, target in targets.items()]

    def find(self, method: str, path: str) -> Found[Target] | WrongMethod | Unknown:
        """Find what answers `method` on the still escaped `path`."""
        segments = [unquote(each) for each in path.strip("/").split("/")]
        allowed = []
        for wanted, template, target in self._routes:
            names = _match(template, segments)
            if names is None:
                continue
            if wanted == method:
                return Found(target, names)
            allowed.append(wanted)
        return WrongMethod(tuple(allowed)) if allowed else Unknown()


def _template(text: str) -> tuple[str, tuple[str, ...]]:
    method, _, path = text.partition(" ")
    return method, tuple(path.strip("/").split("/"))


def _match(template: Sequence[str], segments: Sequence[str]) -> Mapping[str, str] | None:
    names: dict[str, str] = {}
    if template[0] == "{scope}":
        template = template[1:]
        split = len(segments) - len(template)
        if split < 0:
            return None
        names["scope"] = "/" + "/".join(segments[:split])
        segments = segments[split:]
    if len(template) != len(segments):
        return None
    for part, segment in zip(template, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            names[part[1:-1]] = segment
        elif part.lower() != segment.lower():
            return None
    return names
