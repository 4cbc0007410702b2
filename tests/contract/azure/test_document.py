"""The session in docs/reference/resource-manager.md, run as it stands by the real az."""

import re
import socket
from pathlib import Path

import pytest

from tests.contract.azure.az import new_home
from tests.support.paths import ROOT

pytestmark = pytest.mark.interop
_TEXT = (ROOT / "docs/reference/resource-manager.md").read_text(encoding="utf-8")


def test_documented_session_ends_with_a_token(tmp_path: Path) -> None:
    """All of its blocks make one script; only the port is changed, to a free one, and the server ended afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    session = _TEXT.partition("## A session with az")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", session, re.DOTALL)
    script = "trap 'kill $(jobs -p)' EXIT\n" + "\n".join(blocks).replace("8443", port)
    assert len(blocks) == 3
    output = new_home(tmp_path).script(script)
    assert output.splitlines()[-1] == "Bearer"
