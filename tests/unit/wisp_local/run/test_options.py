"""The options of `wisp run` select an authority and its files."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fakes import CLIENT_ID
from wisp.base.errors import SettingError
from wisp_local.run.options import Flags, LocalCloud, Prepared, RealAuthority, choose, default_state, prepare

TOKEN = Path("token")


REAL = Flags(tenant="contoso.com", client_id=CLIENT_ID, federated_token_file=TOKEN)


@pytest.mark.parametrize(
    "flags, authority",
    [
        pytest.param(Flags(), LocalCloud(None, "wisp-run", None, 86400), id="nothing"),
        pytest.param(Flags(identity="app"), LocalCloud(None, "app", None, 86400), id="a name"),
        pytest.param(Flags(client_id=CLIENT_ID.upper()), LocalCloud(None, "wisp-run", CLIENT_ID, 86400), id="an id"),
        pytest.param(
            Flags(state=TOKEN, token_lifetime=600, intercept=True),
            LocalCloud(TOKEN, "wisp-run", None, 600),
            id="state and lifetime",
        ),
        pytest.param(
            REAL,
            RealAuthority("https://login.microsoftonline.com/", "contoso.com", CLIENT_ID, TOKEN, None),
            id="Azure itself",
        ),
        pytest.param(
            replace(REAL, authority_host="login.microsoftonline.us", authority_ca=TOKEN),
            RealAuthority("https://login.microsoftonline.us/", "contoso.com", CLIENT_ID, TOKEN, TOKEN),
            id="another authority",
        ),
    ],
)
def test_flags_select_the_authority(flags: Flags, authority: LocalCloud | RealAuthority) -> None:
    assert choose(flags) == authority


@pytest.mark.parametrize(
    "flags, complaint",
    [
        pytest.param(
            Flags(client_id="app"), "--client-id 'app' is not a GUID: give the client id", id="a name as an id"
        ),
        pytest.param(Flags(client_id=CLIENT_ID, identity="app"), "name the identity twice", id="two identities"),
        pytest.param(Flags(tenant="t"), "needs --client-id and --federated-token-file: see", id="a tenant alone"),
        pytest.param(replace(REAL, tenant=None), "a real authority needs --tenant", id="no tenant"),
        pytest.param(replace(REAL, tenant="a b"), "--tenant 'a b' is not a tenant", id="no such tenant"),
        pytest.param(replace(REAL, authority_host="http://a"), "'http://a' is not an https URL", id="http"),
        pytest.param(replace(REAL, identity="app"), "--identity cannot be used with a real authority", id="identity"),
        pytest.param(replace(REAL, state=TOKEN), "--state cannot be used", id="state"),
        pytest.param(replace(REAL, token_lifetime=1), "--token-lifetime cannot be used", id="lifetime"),
        pytest.param(
            replace(REAL, intercept=True), "remove it: the network of --intercept has no way out", id="intercept"
        ),
    ],
)
def test_invalid_flags_are_reported_with_a_hint(flags: Flags, complaint: str) -> None:
    with pytest.raises(SettingError) as error:
        choose(flags)
    assert complaint in str(error.value)


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
def test_default_state_follows_the_xdg_specification(
    environ: dict[str, str], home: Path | None, expected: Path | None
) -> None:
    assert default_state(environ, home) == expected


def test_folder_of_the_state_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / ".local/state/wisp"
    folder.mkdir(parents=True, mode=0o755)
    prepared = prepare(LOCAL, {}, tmp_path)
    assert prepared == Prepared(LocalCloud(folder / "run.db", "app", None, 600), folder / "run.db")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_unusable_folder_of_the_state_is_noted_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / ".local").touch()
    prepared = prepare(LOCAL, {}, tmp_path)
    assert (prepared.authority, prepared.state) == (LOCAL, None)
    why = f"({tmp_path}/.local/state/wisp: not a directory)"
    assert prepared.notes == (f"the local cloud and its identity are deleted when the command ends {why}",)


def test_missing_home_is_noted() -> None:
    assert prepare(LOCAL, {}, None).notes[0].endswith("(this user has no home)")


def test_path_of_a_named_state_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    authority = LocalCloud(Path("cloud.db"), "app", None, 600)
    assert prepare(authority, {}, None).state == tmp_path / "cloud.db"


def test_named_state_in_a_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"{tmp_path}/nowhere does not exist: give"):
        prepare(LocalCloud(tmp_path / "nowhere/cloud.db", "app", None, 600), {}, None)


def test_files_of_a_real_authority_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    authority = RealAuthority("https://a/", "t", CLIENT_ID, Path("token"), Path("ca.pem"))
    with pytest.raises(SettingError, match=r"--federated-token-file token: .* does not exist"):
        prepare(authority, {}, tmp_path)
    Path("token").touch()
    with pytest.raises(SettingError, match=r"--authority-ca ca.pem: .* does not exist"):
        prepare(authority, {}, tmp_path)
    Path("ca.pem").touch()
    prepared = prepare(authority, {"XDG_STATE_HOME": str(tmp_path)}, None)
    expected = RealAuthority("https://a/", "t", CLIENT_ID, tmp_path / "token", tmp_path / "ca.pem")
    assert prepared == Prepared(expected, tmp_path / "wisp/run.db")
