"""The bill of materials, compared with the content of the image found in other ways."""

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
for distribution in importlib.metadata.distributions():
    print(re.sub("[-_.]+", "-", distribution.metadata["Name"]).lower(), distribution.version)
"""


@pytest.fixture(name="document")
def _document(image: Image) -> dict[str, Any]:
    document = json.loads(path_for(image.archive).read_text())
    assert isinstance(document, dict)
    return document


def _named(document: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        component["name"]: component
        for component in document["components"]
        if component["purl"].startswith(f"pkg:{kind}/")
    }


def test_document_is_valid_cyclonedx(image: Image) -> None:
    """The strict schema applies."""
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415 -- it takes two seconds

    text = path_for(image.archive).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_document_describes_the_image_and_everything_in_it(document: dict[str, Any]) -> None:
    assert document["metadata"]["component"]["type"] == "container"
    (image,) = (dependency for dependency in document["dependencies"] if dependency["ref"] == "image")
    assert set(image["dependsOn"]) == {component["bom-ref"] for component in document["components"]}


def test_python_distributions_are_those_that_the_image_finds(image: Image, document: dict[str, Any]) -> None:
    """The image's own interpreter lists them."""
    python = (image.root / "proxy").read_text().splitlines()[0].removeprefix("#!").split()[0]
    done = run_program(image, Pod(), [python, "-c", DISTRIBUTIONS])
    found = dict(line.split() for line in done.stdout.splitlines())
    assert {name: component["version"] for name, component in _named(document, "pypi").items()} == found


def test_every_distribution_has_the_locked_hash(document: dict[str, Any]) -> None:
    locked = (SOURCE / "requirements/image.txt").read_text()
    for name, component in _named(document, "pypi").items():
        (digest,) = component["hashes"]
        assert name == "wisp-proxy" or digest["content"] in locked, name


def test_every_locked_distribution_is_listed(document: dict[str, Any]) -> None:
    """Distributions for other platforms are left out."""
    locked = re.findall(r"^([\w-]+)==(\S+) *(;.*)?\\$", (SOURCE / "requirements/image.txt").read_text(), re.MULTILINE)
    expected = {name: version for name, version, marker in locked if "sys_platform == 'emscripten'" not in marker}
    assert (
        expected.items() <= {name: component["version"] for name, component in _named(document, "pypi").items()}.items()
    )


def test_every_debian_package_is_listed_with_version_and_copyright(image: Image, document: dict[str, Any]) -> None:
    listed = _named(document, "deb")
    assert {"nftables", "conntrack", "libc6", "libssl3", "ca-certificates"} <= set(listed)
    records = {path.name for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert records == set(listed)
    for name, component in listed.items():
        assert re.fullmatch(r"[0-9][\w.+~:-]*", component["version"]), component
        assert (image.root / "usr/share/doc" / name / "copyright").stat().st_size > 0


def test_every_python_distribution_has_a_licence(document: dict[str, Any]) -> None:
    assert not [name for name, component in _named(document, "pypi").items() if not component.get("licenses")]
