"""Files, links and libraries are copied into the root of the image."""

import shutil
from pathlib import Path

import pytest

from image.debian import Packages
from image.rootfs import RootFs


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> RootFs:
    (tmp_path / "root").mkdir()
    return RootFs(tmp_path / "root")


def test_file_is_copied_with_every_link_to_it(tmp_path: Path, root: RootFs) -> None:
    """Links may be relative or absolute."""
    source = tmp_path / "source"
    (source / "real").mkdir(parents=True)
    (source / "real/file").write_text("text")
    (source / "folder").symlink_to("real")
    (source / "absolute").symlink_to(source / "folder/file")
    root.take(source / "absolute")
    assert root.inside(source / "absolute").readlink() == source / "folder/file"
    assert root.inside(source / "folder").readlink() == Path("real")
    assert root.inside(source / "real/file").read_text() == "text"
    assert root.taken == {source / "real/file"}


def test_modes_allow_everyone_to_read_and_nobody_to_become_root(tmp_path: Path, root: RootFs) -> None:
    """Programs are also executable for everyone."""
    for name, mode in (("program", 0o4700), ("data", 0o600)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
        root.take(tmp_path / name)
    assert root.inside(tmp_path / "program").stat().st_mode & 0o7777 == 0o755
    assert root.inside(tmp_path / "data").stat().st_mode & 0o7777 == 0o644


def test_folder_is_copied_except_for_filtered_files(tmp_path: Path, root: RootFs) -> None:
    """A broken link is left out."""
    source = tmp_path / "source"
    for name in ("included/a", "included/b", "excluded/c"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("")
    (source / "broken").symlink_to("nowhere")
    root.take_tree(source, lambda path: path.name not in {"excluded", "b"})
    assert root.taken == {source / "included/a"}


@pytest.mark.needs("ldd")
def test_program_is_copied_with_its_libraries_and_loader(root: RootFs) -> None:
    root.take(Path(shutil.which("ls") or "/bin/ls"))
    names = {path.name.split(".so")[0].rstrip("0123456789.-") for path in root.taken}
    assert "libc" in names
    assert any(name.startswith("ld") for name in names)


def test_file_belongs_to_the_package_that_lists_it(tmp_path: Path) -> None:
    """The package is described as in dpkg's status file."""
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "libx:amd64.list").write_text("/.\n/opt\n/opt/libx.so\n")
    (info / "y.list").write_text("/opt/y\n")
    (tmp_path / "var/lib/dpkg/status").write_text("Package: libx\nVersion: 1\n\nPackage: y\nVersion: 2\n")
    packages = Packages(tmp_path)
    found = packages.owning([Path("/opt/libx.so"), Path("/opt/unknown")])
    assert {name: stanza.strip() for name, stanza in found.items()} == {"libx": "Package: libx\nVersion: 1"}
    assert packages.copyright_of("libx") is None
