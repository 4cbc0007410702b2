"""What an image is made of, read from its own files: Debian packages and Python distributions.

No I/O: the files are given. Debian's fields are those of its Policy, 5.3, and of the machine-readable copyright format
1.0; Python's of the core metadata specification, 2.4.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from email.parser import Parser
from typing import NamedTuple

DEBIAN_RECORDS = "var/lib/dpkg/status.d/"
_METADATA = re.compile(r".*/(dist|site)-packages/[^/]+\.dist-info/METADATA")
_MACHINE_READABLE = "Format: "


class Package(NamedTuple):
    """An installed package; `kind` and `qualifiers` are those of its package URL."""

    kind: str
    name: str
    version: str
    licences: tuple[str, ...]
    qualifiers: Mapping[str, str]
    homepage: str | None


def packages(files: Mapping[str, str]) -> Iterator[Package]:
    """Return the packages that the files describe; keys are paths in the root."""
    for path, text in sorted(files.items()):
        if path.startswith(DEBIAN_RECORDS):
            stanza = Parser().parsestr(text)
            yield _debian(stanza, files.get(f"usr/share/doc/{stanza['Package']}/copyright", ""))
        elif _METADATA.fullmatch(path):
            yield _python(Parser().parsestr(text))


def is_read(path: str) -> bool:
    """Tell whether `packages` reads the file."""
    is_licence = path.startswith("usr/share/doc/") and path.endswith("/copyright")
    return path.startswith(DEBIAN_RECORDS) or is_licence or _METADATA.fullmatch(path) is not None


def _debian(stanza: Message, copyright_file: str) -> Package:
    source, _, version = stanza.get("Source", stanza["Package"]).partition(" ")
    upstream = {"upstream": f"{source}@{version.strip('()')}" if version else source}
    qualifiers = {"arch": stanza["Architecture"], **(upstream if source != stanza["Package"] or version else {})}
    licences = _debian_licences(copyright_file)
    return Package("deb", stanza["Package"], stanza["Version"], licences, qualifiers, stanza.get("Homepage"))


def _debian_licences(text: str) -> tuple[str, ...]:
    """Return the short names of all licences of a machine-readable copyright file; () for another file."""
    if not text.startswith(_MACHINE_READABLE):
        return ()
    paragraphs = (Parser().parsestr(paragraph.strip("\n")) for paragraph in text.split("\n\n"))
    named = (_first_line(part["License"]) for part in paragraphs if part["Files"] and part["License"])
    return tuple(sorted({name for name in named if name}))


def _python(metadata: Message) -> Package:
    stated = metadata.get("License-Expression") or _first_line(metadata.get("License", ""))
    classified = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License")
    ]
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    return Package("pypi", name, metadata["Version"], (stated,) if stated else tuple(classified), {}, None)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def decoded(files: Iterable[tuple[str, bytes]]) -> Mapping[str, str]:
    """Return the texts of the files that `packages` reads."""
    return {path: content.decode(errors="replace") for path, content in files if is_read(path)}
