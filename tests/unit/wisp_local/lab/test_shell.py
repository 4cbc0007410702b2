"""What a shell evaluates, by the shells themselves."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.needs import need
from wisp_local.lab.shell import Shell, entering, leaving

SHELLS = {"sh": Shell.POSIX, "bash": Shell.POSIX, "dash": Shell.POSIX, "zsh": Shell.POSIX, "fish": Shell.FISH}
ODD = "/a b/l'\"$HOME`x`\\é\n!*"
ENVIRON = {"PATH": "/usr/bin:/bin", "KUBECONFIG": "/mine/$x", "HOME": "/nowhere"}
SHOWN = "AZURE_CONFIG_DIR", "KUBECONFIG", "KUBECACHEDIR", "WISP_LAB", "PATH"


def _variables(folder: str) -> dict[str, str]:
    return {
        "WISP_LAB": folder,
        "AZURE_CONFIG_DIR": f"{folder}/azure",
        "KUBECONFIG": f"{folder}/kubeconfig",
        "KUBECACHEDIR": f"{folder}/kubecache",
    }


def _environment_after(shell: str, lines: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Let the shell evaluate the lines, and return the environment of a program that it then runs."""
    need(shell)
    script = "\n".join([*lines, "exec env -0"])
    done = subprocess.run([shell, "-c", script], env=dict(environ), capture_output=True, check=True)
    return dict(each.split("=", 1) for each in done.stdout.decode().split("\0") if each)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_takes_it_and_gives_it_back(shell: str) -> None:
    """Whatever is in the folder's name; what was set before comes back as it was."""
    entered = _environment_after(shell, entering(_variables(ODD), f"{ODD}/bin", ENVIRON, SHELLS[shell]), ENVIRON)
    assert entered["KUBECONFIG"] == f"{ODD}/kubeconfig"
    assert entered["AZURE_CONFIG_DIR"] == f"{ODD}/azure"
    assert entered["PATH"] == f"{ODD}/bin:/usr/bin:/bin"
    left = _environment_after(shell, leaving(lambda each: each == f"{ODD}/bin", entered, SHELLS[shell]), entered)
    assert {name: left.get(name) for name in SHOWN} == {name: ENVIRON.get(name) for name in SHOWN}
    assert not [name for name in left if name.startswith("WISP_")]


def test_twice_is_as_once() -> None:
    """A start-up file may evaluate it in every shell of a shell."""
    once = _environment_after("sh", entering(_variables("/lab"), "/lab/bin", ENVIRON, Shell.POSIX), ENVIRON)
    twice = _environment_after("sh", entering(_variables("/lab"), "/lab/bin", once, Shell.POSIX), once)
    assert {**twice, "_": ""} == {**once, "_": ""}


def test_from_one_lab_to_another_and_out() -> None:
    """What comes back is what was there before the first."""
    first = _environment_after("sh", entering(_variables("/a"), "/a/bin", ENVIRON, Shell.POSIX), ENVIRON)
    second = _environment_after("sh", entering(_variables("/b"), "/b/bin", first, Shell.POSIX), first)
    assert second["KUBECONFIG"] == "/b/kubeconfig"
    assert second["PATH"] == "/b/bin:/a/bin:/usr/bin:/bin"
    left = _environment_after("sh", leaving(lambda each: each in ("/a/bin", "/b/bin"), second, Shell.POSIX), second)
    assert {name: left.get(name) for name in SHOWN} == {name: ENVIRON.get(name) for name in SHOWN}


def test_a_shell_that_never_entered_is_left_as_it_is() -> None:
    """Nothing of a user's own is unset."""
    assert leaving(lambda each: False, ENVIRON, Shell.POSIX) == []  # noqa: ARG005 -- its signature


@given(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20))
def test_any_folder_is_one_word(text: str) -> None:
    """No character of it means anything to the shell."""
    lines = entering({"WISP_LAB": text}, "/lab/bin", ENVIRON, Shell.POSIX)
    assert _environment_after("sh", lines, ENVIRON)["WISP_LAB"] == text


def test_nothing_is_looked_for_in_the_current_folder(tmp_path: Path) -> None:
    """A PATH that is empty gets no empty part, which would be the current folder."""
    environ = {name: value for name, value in ENVIRON.items() if name != "PATH"}
    lines = entering(_variables("/lab"), "/lab/bin", environ, Shell.POSIX)
    done = subprocess.run(
        ["/bin/sh", "-c", "\n".join(["unset PATH", *lines, 'echo "$PATH"'])],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "/lab/bin\n"
