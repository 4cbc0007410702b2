"""The machine underneath: programs and files."""

from pathlib import Path

import pytest

from wisp.base.errors import ToolError
from wisp.redirect.host import LocalMachine, Outcome
from wisp.redirect.plan import Command


def test_a_program_is_found_or_not() -> None:
    """Only what is on PATH is there."""
    assert LocalMachine().has("sh")
    assert not LocalMachine().has("no-such-program")


def test_a_program_gets_its_script_and_settings() -> None:
    """A command gets its standard input, the C locale and what it sets; all that it says comes back."""
    script = 'echo "$LC_ALL $XTABLES_LOCKFILE ${HOME-unset}"; echo no >&2; exit 3\n'
    command = Command(("sh", "-s"), script, (("XTABLES_LOCKFILE", "/dev/null"),))
    assert LocalMachine().run(command) == Outcome(3, "C /dev/null unset\n", "no\n")


@pytest.mark.parametrize("content", [None, b"\x7fno program"], ids=["missing", "broken"])
def test_a_program_that_cannot_start_is_a_tool_error(tmp_path: Path, content: bytes | None) -> None:
    """What cannot be run is an error of ours, with the system's reason."""
    program = tmp_path / "nft"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o755)
    with pytest.raises(ToolError, match="cannot be started"):
        LocalMachine().run(Command((str(program),)))


@pytest.mark.parametrize(
    "content, may_exist", [("filter\nnat\n", True), ("filter\n", False), ("", False), (None, False)]
)
def test_whether_a_legacy_nat_table_exists(tmp_path: Path, content: str | None, may_exist: bool) -> None:  # noqa: FBT001
    """The kernel's list says so; no list, no legacy tables."""
    names = tmp_path / "ip_tables_names"
    if content is not None:
        names.write_text(content)
    assert LocalMachine(legacy_tables=names).legacy_nat_exists() is may_exist


def test_a_list_that_cannot_be_read_leaves_it_open(tmp_path: Path) -> None:
    """Only root may read the list; for others there may be a legacy table."""
    assert LocalMachine(legacy_tables=tmp_path).legacy_nat_exists()


def test_whether_the_lock_opens(tmp_path: Path) -> None:
    """It does when it is there or can be made."""
    lock = tmp_path / "xtables.lock"
    assert LocalMachine(xtables_lock=lock).lock_opens()
    lock.touch()
    assert LocalMachine(xtables_lock=lock).lock_opens()
    assert not LocalMachine(xtables_lock=tmp_path / "no-such-folder" / "xtables.lock").lock_opens()
