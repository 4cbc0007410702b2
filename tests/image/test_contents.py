"""Packages of an image, found from its files."""

import pytest

from image.contents import Package, is_read, packages

STANZA = "Package: libssl3\nSource: openssl (3.0.1-1)\nVersion: 3.0.1-1+b1\nArchitecture: amd64\nHomepage: https://x/\n"
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: x

Files: *
Copyright: somebody
License: Apache-2.0

Files: debian/*
Copyright: somebody else
License: GPL-2+
 A text that is
 .
 no name.

License: Artistic
 Of no file.
"""


def test_debian_package_has_source_version_and_licences() -> None:
    """A licence that applies to no file is left out."""
    files = {"var/lib/dpkg/status.d/libssl3": STANZA, "usr/share/doc/libssl3/copyright": COPYRIGHT}
    assert list(packages(files)) == [
        Package(
            "deb",
            "libssl3",
            "3.0.1-1+b1",
            ("Apache-2.0", "GPL-2+"),
            {"arch": "amd64", "upstream": "openssl@3.0.1-1"},
            "https://x/",
        )
    ]


def test_debian_package_with_minimal_metadata_has_no_source_and_no_licences() -> None:
    """A source of the same name is not repeated; a copyright file in free text gives no licence."""
    files = {
        "var/lib/dpkg/status.d/a": "Package: a\nVersion: 1\nArchitecture: all\n",
        "usr/share/doc/a/copyright": "Everybody may do everything.\n",
    }
    assert list(packages(files)) == [Package("deb", "a", "1", (), {"arch": "all"}, None)]


@pytest.mark.parametrize(
    "field, licences",
    [
        ("License-Expression: MIT OR Apache-2.0", ("MIT OR Apache-2.0",)),
        ("License: BSD\n        of some kind", ("BSD",)),
        ("Classifier: License :: OSI Approved :: MIT License", ("MIT License",)),
        ("Classifier: Topic :: Internet", ()),
    ],
    ids=["expression", "text", "classifier", "other classifier"],
)
def test_python_package_has_a_normalised_name_and_its_licence(field: str, licences: tuple[str, ...]) -> None:
    """The licence comes from the most precise field."""
    path = "usr/lib/python3/dist-packages/A_b.dist-info/METADATA"
    assert list(packages({path: f"Name: A_b\nVersion: 2\n{field}\n\nText\n"})) == [
        Package("pypi", "a-b", "2", licences, {}, None)
    ]


@pytest.mark.parametrize("path", ["usr/lib/libc.so.6", "usr/share/doc/a/changelog", "etc/passwd"])
def test_other_file_is_not_read(path: str) -> None:
    assert not is_read(path)
