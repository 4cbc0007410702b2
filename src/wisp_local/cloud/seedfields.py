"""The fields of one mapping of a seed file, read by the table of what may be there; every error says where."""

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

from wisp_local.cloud.errors import RequestError, SeedError
from wisp_local.cloud.seedformat import Key
from wisp_local.cloud.seedtext import Node, Other, at

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Fields:
    """A mapping of the file, at `path`, with the keys that may be in it."""

    def __init__(self, node: Node, path: str, source: str, keys: Sequence[Key]) -> None:
        self._path, self._source, self._line = path, source, node.line
        values = {} if node.value is None else node.value
        if not isinstance(values, dict):
            raise self._wrong(node, path, "a mapping (key: value)")
        self._values: dict[str, Node] = values
        self._keys = {each.name: each for each in keys}
        self._check_keys()

    @property
    def path(self) -> str:
        """Where it is, from the top of the file."""
        return self._path

    def where(self, key: str = "") -> str:
        """Write where in the file this, or the value of `key`, is."""
        line = self._values[key].line if key in self._values else self._line
        return at(self._source, line, self._below(key) if key else self._path)

    def error(self, key: str, problem: str, hint: str) -> SeedError:
        """Make the error about the value of `key`."""
        return SeedError(f"{self.where(key)}: {problem}", hint=hint)

    def check(self, rule: Callable[..., None], *values: object) -> None:
        """Apply a rule of Azure's; its error then says where."""
        try:
            rule(*values)
        except RequestError as error:
            raise SeedError(f"{self.where()}: {error.problem}", hint=error.hint) from error

    def text(self, key: str) -> str | None:
        """Return the text at `key`, a GUID in lower case, or None."""
        node = self._values.get(key)
        if node is None or node.value is None:
            return None
        value = self._text(node, self._below(key))
        if not self._keys[key].guid:
            return value
        if _GUID.fullmatch(value) is None:
            raise self.error(key, f"{value!r} is no GUID", "give 8-4-4-4-12 hexadecimal digits, or leave it away")
        return value.lower()

    def need(self, key: str) -> str:
        """Return the text at `key`, which has to be there."""
        value = self.text(key)
        if value is None:
            raise self.error("", f"{key} is missing", f"add {key}: {self._keys[key].says}")
        return value

    def texts(self, key: str, rule: Callable[[str], None]) -> Iterable[str]:
        """Give the texts of the list at `key`, each checked by `rule`."""
        for number, node in enumerate(self._list(key)):
            value = self._text(node, self._below(key, number))
            self.check(rule, value)
            yield value

    def one(self, key: str) -> "Fields | None":
        """Return the mapping at `key`."""
        node = self._values.get(key)
        return None if node is None else Fields(node, self._below(key), self._source, self._keys[key].inside)

    def many(self, key: str) -> "list[Fields]":
        """Return the mappings of the list at `key`."""
        inside = self._keys[key].inside
        return [
            Fields(node, self._below(key, number), self._source, inside) for number, node in enumerate(self._list(key))
        ]

    def _check_keys(self) -> None:
        for name, node in self._values.items():
            if name not in self._keys:
                line = at(self._source, node.line, self._path)
                near = nearest(name, self._keys) or f"there is {', '.join(self._keys)}"
                raise SeedError(f"{line}: unknown key {name!r}", hint=near)

    def _list(self, key: str) -> list[Node]:
        node = self._values.get(key)
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            raise self._wrong(node, self._below(key), "a list (- one - another)")
        return node.value

    def _text(self, node: Node, path: str) -> str:
        if not isinstance(node.value, str):
            raise self._wrong(node, path, "text")
        return node.value

    def _wrong(self, node: Node, path: str, wanted: str) -> SeedError:
        hint = "see docs/testing.md"
        if isinstance(node.value, Other) and wanted == "text":
            hint = f'put it in quotes: "{node.value.written}"'
        return SeedError(f"{at(self._source, node.line, path)}: this has to be {wanted}", hint=hint)

    def _below(self, key: str, number: int | None = None) -> str:
        path = f"{self._path}.{key}" if self._path else key
        return path if number is None else f"{path}[{number}]"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Ask whether the nearest of `known` is meant; None when none is near."""
    near = get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else None
