"""Where things are kept."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.fakes import CLIENT_ID
from wisp.base.errors import SettingError
from wisp_local.run.client import open_log
from wisp_local.run.options import LocalCloud, Prepared, RealAuthority, default_state, prepare

LOCAL = LocalCloud(None, "app", None, 600)


@pytest.mark.parametrize(
    "environ, home, expected",
    [
        pytest.param({}, Path("/home/a"), Path("/home/a/.local/state/wisp/run.db"), id="home"),
        pytest.param({"XDG_STATE_HOME": "/s"}, Path("/home/a"), Path("/s/wisp/run.db"), id="state-home"),
        pytest.param({"XDG_STATE_HOME": "s"}, Path("/h"), Path("/h/.local/state/wisp/run.db"), id="relative"),
        pytest.param({"XDG_STATE_HOME": "/s"}, None, Path("/s/wisp/run.db"), id="no-home-needed"),
        pytest.param({}, None, None, id="nowhere"),
    ],
)
def test_a_users_own_place(environ: dict[str, str], home: Path | None, expected: Path | None) -> None:
    """The XDG Base Directory Specification says where."""
    assert default_state(environ, home) == expected


def test_it_is_made_private(tmp_path: Path) -> None:
    """The folder is the user's alone, even if it was not."""
    folder = tmp_path / ".local/state/wisp"
    folder.mkdir(parents=True, mode=0o755)
    prepared = prepare(LOCAL, {}, tmp_path)
    assert prepared == Prepared(LocalCloud(folder / "run.db", "app", None, 600), folder / "run.db")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_where_it_cannot_be(tmp_path: Path) -> None:
    """The state goes with the command, and the reason is noted."""
    (tmp_path / ".local").touch()
    prepared = prepare(LOCAL, {}, tmp_path)
    assert (prepared.authority, prepared.state) == (LOCAL, None)
    why = f"({tmp_path}/.local/state/wisp: not a directory)"
    assert prepared.notes == (f"the local cloud and its identity are deleted when the command ends {why}",)


def test_a_user_without_a_home() -> None:
    """That is a reason, too."""
    assert prepare(LOCAL, {}, None).notes[0].endswith("(this user has no home)")


def test_a_named_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found from any folder, and nobody's home is looked at."""
    monkeypatch.chdir(tmp_path)
    wanted = LocalCloud(Path("cloud.db"), "app", None, 600)
    assert prepare(wanted, {}, None).state == tmp_path / "cloud.db"


def test_a_named_state_in_no_folder(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(SettingError, match=f"{tmp_path}/nowhere does not exist: give"):
        prepare(LocalCloud(tmp_path / "nowhere/cloud.db", "app", None, 600), {}, None)


def test_the_files_of_a_real_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there, and are found from any folder; logs are where a local run's are."""
    monkeypatch.chdir(tmp_path)
    wanted = RealAuthority("https://a/", "t", CLIENT_ID, Path("token"), Path("ca.pem"))
    with pytest.raises(SettingError, match=r"--federated-token-file token: .* does not exist"):
        prepare(wanted, {}, tmp_path)
    Path("token").touch()
    with pytest.raises(SettingError, match=r"--authority-ca ca.pem: .* does not exist"):
        prepare(wanted, {}, tmp_path)
    Path("ca.pem").touch()
    prepared = prepare(wanted, {"XDG_STATE_HOME": str(tmp_path)}, None)
    expected = RealAuthority("https://a/", "t", CLIENT_ID, tmp_path / "token", tmp_path / "ca.pem")
    assert prepared == Prepared(expected, tmp_path / "wisp/run.db")


def test_logs_are_private_and_few(tmp_path: Path) -> None:
    """Each run has one of its own; the last ten are kept."""
    folder = tmp_path / "run.db.logs"
    folder.mkdir()
    for number in range(12):
        (folder / f"2020010{number // 10}-00000{number % 10}-1.log").touch()
    log = open_log(tmp_path / "run.db")
    os.write(log.descriptor, b"a line\n")
    os.close(log.descriptor)
    assert log.path is not None
    assert (log.path.parent, log.path.read_text(encoding="utf-8")) == (folder, "a line\n")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert len(list(folder.iterdir())) == 10


@pytest.mark.parametrize("state", [None, Path("/proc/run.db")], ids=["none", "not writable"])
def test_a_log_in_no_folder(state: Path | None) -> None:
    """It can be written and read all the same."""
    log = open_log(state)
    os.write(log.descriptor, b"a line\n")
    assert (log.text(), log.path) == ("a line\n", None)
    os.close(log.descriptor)
