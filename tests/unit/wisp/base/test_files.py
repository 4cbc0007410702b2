"""Files are replaced atomically, with the requested mode, and no temporary file is left."""

import stat
from pathlib import Path

import pytest

from wisp.base.files import write_atomically


@pytest.mark.parametrize("data", [b"caf\xc3\xa9", "caf\u00e9"], ids=["bytes", "text"])
def test_content_of_an_existing_file_is_replaced(tmp_path: Path, data: bytes | str) -> None:
    path = tmp_path / "file"
    path.write_text("a longer content than the new one")
    write_atomically(path, data)
    assert path.read_bytes() == b"caf\xc3\xa9"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("arguments, expected", [({}, 0o600), ({"mode": 0o755}, 0o755)], ids=["default", "given"])
def test_mode_does_not_depend_on_the_umask_or_the_old_file(
    tmp_path: Path, arguments: dict[str, int], expected: int
) -> None:
    path = tmp_path / "file"
    path.touch(0o777)
    write_atomically(path, b"", **arguments)
    assert stat.S_IMODE(path.stat().st_mode) == expected


def test_open_old_file_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


def test_failed_write_leaves_the_target_and_no_temporary_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "file").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_atomically(folder / "file", b"new")
    assert list(folder.iterdir()) == [folder / "file"]


def test_missing_folder_is_an_os_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", b"new")
