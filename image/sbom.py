"""The software bill of materials of an image, in CycloneDX JSON: read from the image, with the wheels' hashes."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_supported_id
from packageurl import PackageURL

from image.archive import files
from image.contents import Package, decoded, packages
from wisp import __version__

OWN = "wisp-proxy"


def path_for(archive: Path) -> Path:
    """Return the path of an archive's bill of materials."""
    return archive.with_suffix(".cdx.json")


def describe(archive: Path, name: str, wheels: Path) -> str:
    """Return the CycloneDX document; the hashes are those of the wheels in the folder. Raise OSError."""
    texts = decoded((member.name, content) for member, content in files(archive))
    hashes = {_distribution(wheel): hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels.glob("*.whl")}
    bom = Bom(components=[_component(package, hashes) for package in packages(texts)])
    image = Component(name=name, version=__version__, type=ComponentType.CONTAINER, bom_ref="image")
    bom.metadata.component = image
    bom.register_dependency(image, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _component(package: Package, hashes: Mapping[str, str]) -> Component:
    namespace = "debian" if package.kind == "deb" else None
    purl = PackageURL(package.kind, namespace, package.name, package.version, dict(package.qualifiers))
    known = hashes.get(package.name) if package.kind == "pypi" else None
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        licenses=_licences(package.licences),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=known)] if known else [],
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(package.homepage))]
        if package.homepage
        else [],
    )


def _licences(names: tuple[str, ...]) -> list[License]:
    """Return licences with their SPDX ids if they have one. CycloneDX allows one expression or licences, not both."""
    factory = LicenseFactory()
    if len(names) == 1:
        return [factory.make_from_string(names[0])]
    return [factory.make_with_id(name) if is_supported_id(name) else factory.make_with_name(name) for name in names]


def _distribution(wheel: Path) -> str:
    return re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
