"""What the command line asks for."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fakes import CLIENT_ID
from wisp.base.errors import SettingError
from wisp_local.run.options import Flags, LocalCloud, RealAuthority, choose

TOKEN = Path("token")
REAL = Flags(tenant="contoso.com", client_id=CLIENT_ID, federated_token_file=TOKEN)


@pytest.mark.parametrize(
    "flags, wanted",
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
def test_what_is_meant(flags: Flags, wanted: LocalCloud | RealAuthority) -> None:
    """A flag about a real authority means one; without any it is the local cloud."""
    assert choose(flags) == wanted


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
def test_what_cannot_be_meant(flags: Flags, complaint: str) -> None:
    """The flag at fault is named, and what to do."""
    with pytest.raises(SettingError) as error:
        choose(flags)
    assert complaint in str(error.value)
