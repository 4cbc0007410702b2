"""The user's folders, and results that are moved into place."""

from pathlib import Path

import pytest

from wisp_local.sandbox.folders import cache_folder, move_into_place


@pytest.mark.parametrize("given, expected", [({"XDG_CACHE_HOME": "/x"}, "/x/wisp"), ({}, None)], ids=["xdg", "home"])
def test_cache_folder_follows_the_xdg_specification(given: dict[str, str], expected: str | None) -> None:
    assert str(cache_folder(given)) == (expected or str(Path.home() / ".cache" / "wisp"))


def test_folder_of_a_faster_build_is_kept(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name, encoding="utf-8")
        move_into_place(tmp_path / name, tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text(encoding="utf-8") == "first"


def test_result_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "nothing", tmp_path / "target")
