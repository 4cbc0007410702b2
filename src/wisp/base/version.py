"""Says which wisp this is: version, commit, and the Python and platform that it runs on.

The commit comes from the file that the build wrote into the package, or from the repository that this is a checkout of.
The sidecar loads this only when it is asked for its version.
"""

import os
import sys
from typing import NamedTuple

from wisp import __version__
from wisp.base.jsontext import to_json

FORMS = ("text", "json")
UNKNOWN = "unknown"
COMMIT_FILE = "commit.txt"
"""In the package: the commit, where a build or `git archive` put it there; else a placeholder."""

_SHORT = 12
_HEX = frozenset("0123456789abcdef")
_MOST_REFERENCES = 5
_SIZE_LIMIT = 1 << 20


class About(NamedTuple):
    """What `--version` says. `commit` is the whole hash, or `unknown`."""

    version: str
    commit: str
    python: str
    platform: str


def about() -> About:
    """Return what is running."""
    system, _, _, _, machine = os.uname()
    python = sys.version.split()[0]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 -- the sidecar loads no pathlib
    return About(__version__, commit_of(package), python, f"{system.lower()}/{machine}")


def version_text(form: str, what: About | None = None) -> str:
    """Return the line that `--version` prints, in one of `FORMS`."""
    what = what or about()
    if form == "json":
        return to_json(what._asdict()).decode() + "\n"
    version, commit, python, platform = what
    return f"wisp {version} (commit {commit[:_SHORT]}, Python {python}, {platform})\n"


def commit_of(package: str) -> str:
    """Return the commit that the package in this folder was made of, `unknown` if nothing says it; never fail."""
    written = _text(f"{package}/{COMMIT_FILE}")
    if _is_hash(written):
        return written
    source, name = package.rsplit("/", 1)
    root = source.removesuffix("/src")
    if name != "wisp" or root == source:
        return UNKNOWN
    return _head_of(f"{root}/.git") or UNKNOWN


def _head_of(repository: str) -> str | None:
    """Return the commit that is checked out (gitrepository-layout(5)), None if it cannot be told."""
    link = _text(repository)
    if link.startswith("gitdir: "):  # a worktree or a submodule
        repository = os.path.join(repository.rsplit("/", 1)[0], link.removeprefix("gitdir: "))  # noqa: PTH118 -- as above
    common = os.path.join(repository, _text(f"{repository}/commondir"))  # noqa: PTH118 -- as above
    value = _text(f"{repository}/HEAD")
    for _ in range(_MOST_REFERENCES):
        if not value.startswith("ref: "):
            break
        reference = value.removeprefix("ref: ")
        value = _text(f"{repository}/{reference}") or _text(f"{common}/{reference}") or _packed(common, reference)
    return value if _is_hash(value) else None


def _packed(common: str, reference: str) -> str:
    lines = (line.split(" ") for line in _text(f"{common}/packed-refs").splitlines())
    return next((fields[0] for fields in lines if fields[1:] == [reference]), "")


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and _HEX.issuperset(text)


def _text(path: str) -> str:
    """Return a file's text without blanks around it; nothing if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- as above
            return file.read(_SIZE_LIMIT).strip()
    except (OSError, ValueError):
        return ""
