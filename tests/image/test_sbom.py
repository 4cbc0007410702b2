"""The bill of materials against what is really in the image, found in other ways."""

import json
import re
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion

from image.build import SOURCE
from image.sbom import path_for
from tests.image.container import Image, Pod, run_program

pytestmark = pytest.mark.image

DISTRIBUTIONS = """
import importlib.metadata, re
for each in importlib.metadata.distributions():
    print(re.sub("[-_.]+", "-", each.metadata["Name"]).lower(), each.version)
"""


@pytest.fixture(name="document")
def _document(image: Image) -> dict[str, Any]:
    document = json.loads(path_for(image.archive).read_text())
    assert isinstance(document, dict)
    return document


def _named(document: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["components"] if each["purl"].startswith(f"pkg:{kind}/")}


def test_form(image: Image) -> None:
    """It is CycloneDX, by its strict schema."""
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415 -- it takes two seconds

    text = path_for(image.archive).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_subject(document: dict[str, Any]) -> None:
    """It says of which image it is, and that all else is in it."""
    assert document["metadata"]["component"]["type"] == "container"
    (image,) = (each for each in document["dependencies"] if each["ref"] == "image")
    assert set(image["dependsOn"]) == {each["bom-ref"] for each in document["components"]}


def test_distributions(image: Image, document: dict[str, Any]) -> None:
    """The Python distributions are those that the image's own interpreter finds."""
    python = (image.root / "proxy").read_text().splitlines()[0].removeprefix("#!").split()[0]
    done = run_program(image, Pod(), [python, "-c", DISTRIBUTIONS])
    found = dict(line.split() for line in done.stdout.splitlines())
    assert {name: each["version"] for name, each in _named(document, "pypi").items()} == found


def test_hashes(document: dict[str, Any]) -> None:
    """Each distribution has its wheel's hash, which is one of those that are locked."""
    locked = (SOURCE / "requirements/image.txt").read_text()
    for name, each in _named(document, "pypi").items():
        (digest,) = each["hashes"]
        assert name == "wisp-proxy" or digest["content"] in locked, name


def test_every_lock_is_there(document: dict[str, Any]) -> None:
    """What is locked for Linux and this Python is in it."""
    locked = re.findall(r"^([\w-]+)==(\S+) *(;.*)?\\$", (SOURCE / "requirements/image.txt").read_text(), re.MULTILINE)
    wanted = {name: version for name, version, marker in locked if "sys_platform == 'emscripten'" not in marker}
    assert wanted.items() <= {name: each["version"] for name, each in _named(document, "pypi").items()}.items()


def test_debian_packages(image: Image, document: dict[str, Any]) -> None:
    """Every library and program from Debian is of a package that is listed, with its version and its licences' text."""
    listed = _named(document, "deb")
    assert {"nftables", "conntrack", "libc6", "libssl3", "ca-certificates"} <= set(listed)
    records = {path.name for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert records == set(listed)
    for name, each in listed.items():
        assert re.fullmatch(r"[0-9][\w.+~:-]*", each["version"]), each
        assert (image.root / "usr/share/doc" / name / "copyright").stat().st_size > 0


def test_licences(document: dict[str, Any]) -> None:
    """Every Python distribution says its licence."""
    assert not [name for name, each in _named(document, "pypi").items() if not each.get("licenses")]
