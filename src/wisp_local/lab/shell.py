"""What a shell is to evaluate so that `az` and `kubectl` in it are the lab's, and what undoes it.

Knows no file and no environment but what it is given. Written for every POSIX shell, and for fish.
"""

import shlex
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

KEPT = ("AZURE_CONFIG_DIR", "KUBECONFIG", "KUBECACHEDIR")
"""What a user may have set to something else, which comes back at the end."""
_LAB = "WISP_LAB"
_BETWEEN = ":"  # the folders of PATH
_WAS = "WISP_LAB_WAS_"


class Shell(Enum):
    """Whose language it is."""

    POSIX = "posix"
    FISH = "fish"


def entering(variables: Mapping[str, str], programs: str, environ: Mapping[str, str], shell: Shell) -> list[str]:
    """Return the lines that set `variables`, among them WISP_LAB, and put the folder `programs` first on PATH.

    What `environ` has of `KEPT` is put aside, unless it is another lab's; evaluated twice it is as once.
    """
    words = _WORDS[shell]
    aside = {} if _LAB in environ else {f"{_WAS}{name}": environ[name] for name in KEPT if name in environ}
    lines = [words.export(name, value) for name, value in {**aside, **variables}.items()]
    first = environ.get("PATH", "").split(_BETWEEN)[0]
    return lines if first == programs else [*lines, words.put_first(programs)]


def leaving(programs: Callable[[str], bool], environ: Mapping[str, str], shell: Shell) -> list[str]:
    """Return the lines that undo it; `programs` tells whether a folder is one that a lab put on PATH."""
    words = _WORDS[shell]
    lines = []
    for name in KEPT if _LAB in environ else ():
        aside = environ.get(f"{_WAS}{name}")
        lines.append(words.unset(name) if aside is None else words.export(name, aside))
    ours = [name for name in environ if name == _LAB or name.startswith(_WAS)]
    lines += [words.unset(name) for name in sorted(ours)]
    folders = environ.get("PATH", "").split(_BETWEEN)
    others = [each for each in folders if not programs(each)]
    return lines if others == folders else [*lines, words.path(others)]


class _Words(Protocol):
    """A shell's words for it."""

    def export(self, name: str, value: str) -> str: ...

    def unset(self, name: str) -> str: ...

    def put_first(self, folder: str) -> str: ...

    def path(self, folders: list[str]) -> str: ...


class _Posix:
    """bash, zsh, dash and all who read POSIX' shell command language."""

    def export(self, name: str, value: str) -> str:
        return f"export {name}={shlex.quote(value)}"

    def unset(self, name: str) -> str:
        return f"unset {name}"

    def put_first(self, folder: str) -> str:
        return f'export PATH={shlex.quote(folder)}"${{PATH:+:$PATH}}"'

    def path(self, folders: list[str]) -> str:
        return self.export("PATH", _BETWEEN.join(folders))


class _Fish:
    """https://fishshell.com/docs/current/language.html#quotes: two characters to escape, and no others."""

    def export(self, name: str, value: str) -> str:
        return f"set -gx {name} {self._quoted(value)}"

    def unset(self, name: str) -> str:
        return f"set -e {name}"

    def put_first(self, folder: str) -> str:
        return f"set -gx PATH {self._quoted(folder)} $PATH"

    def path(self, folders: list[str]) -> str:
        return f"set -gx PATH {' '.join(self._quoted(each) for each in folders)}"

    def _quoted(self, text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"


_WORDS: dict[Shell, _Words] = {Shell.POSIX: _Posix(), Shell.FISH: _Fish()}
