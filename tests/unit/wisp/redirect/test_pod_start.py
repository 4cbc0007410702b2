"""The start of the redirect in pods, `wisp redirect up --proxy-port=PORT`, has the effect of the full command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.wisp.redirect.pod import NEEDED, Pod, pod, programs

_TRACKING = "table ip other {\n chain output {\n type filter hook output priority 0;\n ct state new accept\n }\n}\n"
_LONG = ("--proxy-port", "9000")
"""A form that pods do not use, so the full command parses it."""


def _wisp(*arguments: str, path: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "wisp", *arguments],
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _up(inside: Pod, path: Path, *flags: str) -> tuple[int, str, str]:
    command = ("env", f"PATH={path}", sys.executable, "-m", "wisp", "redirect", "up", *flags)
    done = inside.run(*command)
    return done.returncode, done.stdout, done.stderr


def _program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("port", ["8000", "0", "99999"])
def test_invalid_port_fails_as_in_the_command(tmp_path: Path, port: str) -> None:
    """Messages and exit status are the same."""
    short = _wisp("redirect", "up", f"--proxy-port={port}", path=tmp_path)
    assert short == _wisp("redirect", "up", "--proxy-port", port, path=tmp_path)
    assert short[0] != 0


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Error: Operation not permitted (you must be root)' >&2; exit 1",
        "echo 'netlink: Error: Protocol not supported' >&2; exit 1",
        "kill -9 $$",
    ],
    ids=["refused", "not supported", "killed"],
)
def test_failing_nft_is_reported_as_by_the_command(tmp_path: Path, script: str) -> None:
    """The message has nft's own text and a hint."""
    _program(tmp_path, "nft", script)
    _program(tmp_path, "conntrack", "exit 1")
    short = _wisp("redirect", "up", "--proxy-port=9000", path=tmp_path)
    assert short == _wisp("redirect", "up", *_LONG, path=tmp_path)
    assert short[0] != 0
    assert "nft failed" in short[2]


def test_nft_that_cannot_be_started_is_reported_as_by_the_command(tmp_path: Path) -> None:
    """An example is a program for another processor."""
    _program(tmp_path, "conntrack", "exit 1")
    (tmp_path / "nft").write_bytes(b"\x7fELF")
    (tmp_path / "nft").chmod(0o755)
    short = _wisp("redirect", "up", "--proxy-port=9000", path=tmp_path)
    assert short == _wisp("redirect", "up", *_LONG, path=tmp_path)
    assert (short[0], "nft cannot be started" in short[2]) == (1, True)


@pytest.mark.system
@pytest.mark.needs(*NEEDED, "conntrack")
@pytest.mark.parametrize("names", [("nft", "conntrack"), ("nft",)], ids=["as in the image", "without conntrack"])
def test_rules_and_output_are_those_of_the_command(names: tuple[str, ...], tmp_path: Path) -> None:
    """The second run changes nothing."""
    path = programs(tmp_path, *names)
    with pod() as inside:
        outputs, rules = [], []
        for flags in (("--proxy-port=9000",), _LONG, ("--proxy-port=9000",)):
            outputs.append(_up(inside, path, *flags))
            rules.append(inside.must("nft", "list", "ruleset"))
    assert outputs == [outputs[1]] * 3
    assert rules == [rules[1]] * 3
    assert (outputs[0][0], "127.0.0.1:9000" in outputs[0][1], "redirect to :9000" in rules[0]) == (0, True, True)


@pytest.mark.system
@pytest.mark.needs(*NEEDED, "iptables-nft")
def test_rule_installed_with_iptables_is_removed(tmp_path: Path) -> None:
    path = programs(tmp_path, "nft", "conntrack", *(f"iptables-nft{ending}" for ending in ("", "-save", "-restore")))
    with pod() as inside:
        assert _up(inside, path, "--backend=iptables")[0] == 0
        assert "WISP" in inside.rules()
        assert _up(inside, path, "--proxy-port=9000")[0] == 0
        assert "WISP" not in inside.rules()


@pytest.mark.system
@pytest.mark.needs(*NEEDED)
@pytest.mark.parametrize("tracked", [True, False], ids=["connections are tracked", "connections are not tracked"])
def test_conntrack_runs_only_where_connections_are_tracked(tmp_path: Path, *, tracked: bool) -> None:
    """It takes as long as everything else together, and a new pod tracks no connections."""
    programs(tmp_path, "nft")
    arguments_file = tmp_path / "asked"
    _program(tmp_path, "conntrack", f'echo "$@" > {arguments_file}')
    with pod() as inside:
        if tracked:
            inside.must("nft", "-f", "-", text=_TRACKING)
        with inside.connected(80, []):
            assert _up(inside, tmp_path, "--proxy-port=9000")[0] == 0
    assert arguments_file.exists() is tracked
    assert not tracked or "--delete --proto tcp --orig-dst 169.254.169.254" in arguments_file.read_text()


def _modules(path: Path) -> set[str]:
    program = (
        "import sys; sys.argv = ['wisp', 'redirect', 'up', '--proxy-port=8000']\n"
        "from wisp.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path[:0] = {sys.path}\n{program}"],
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_few_modules_are_loaded(tmp_path: Path) -> None:
    """Loading them delays every pod."""
    _program(tmp_path, "nft", "exit 0")
    _program(tmp_path, "conntrack", "exit 1")
    loaded = _modules(tmp_path)
    assert {module for module in loaded if module.startswith("wisp")} == {
        "wisp",
        "wisp.__main__",
        "wisp.redirect",
        "wisp.redirect.pod_start",
        "wisp.redirect.script",
    }
    assert loaded.isdisjoint({"click", "re", "subprocess", "enum", "typing"})


def test_command_line_library_is_not_loaded_even_if_nft_fails(tmp_path: Path) -> None:
    assert "click" not in _modules(tmp_path)
