"""Helm is built once. Its path is printed on standard output, and progress on standard error."""

from pathlib import Path

import pytest

from tests.helm.build import main
from wisp_local.sandbox.signals import run_program

GO = '#!/bin/sh\n[ $1 = list ] && exit\nwhile [ "$1" != -o ]; do shift; done\necho built > "$2"\n'


@pytest.fixture(name="go", autouse=True)
def _go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `go` on PATH that writes a file instead of a program."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(GO, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return program


def test_only_the_path_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts can therefore use it."""
    assert main() == 0
    printed = capsys.readouterr()
    assert Path(printed.out.strip()).read_text(encoding="utf-8") == "built\n"
    assert "Building Helm v3" in printed.err


def test_second_build_prints_the_path_only(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    first = capsys.readouterr().out
    assert main() == 0
    assert capsys.readouterr() == (first, "")


def test_failure_is_an_error_message(go: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The exit status is 1, and nothing is cached."""
    go.write_text("#!/bin/sh\necho no space left\nexit 1\n", encoding="utf-8")
    assert run_program(main) == 1
    assert "no space left" in capsys.readouterr().err
    assert list((tmp_path / "cache" / "wisp").iterdir()) == []
