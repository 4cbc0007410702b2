"""`wisp cloud` on a state file, as a person uses it."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.unit.wisp_local.cloud.small_azure import claims_of
from wisp.cli import main
from wisp_local.cloud.state.store import Store


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Name a state file that does not exist yet."""
    return tmp_path / "state.db"


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[Any]:
    assert main(["cloud", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_commands_create_everything_a_token_needs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Identity, issuer, federated credential and a token, each printed as JSON."""
    (made,) = _run(capsys, "identity", "create", "--state", state, "-g", "RG", "-n", "app")
    (issuer,) = _run(capsys, "issuer", "create", "--state", state, "--name", "wilab", "--url", "https://c.test/")
    assert issuer["issuerUrl"] == f"https://c.test/oidc/{issuer['id']}/"
    subject = "system:serviceaccount:kube-system:wi-demo-sa"
    where = ("--state", state, "-g", "rg", "--identity", "app")
    (credential,) = _run(capsys, "federate", *where, "--issuer", issuer["issuerUrl"], "--subject", subject)
    assert credential["audiences"] == ["api://AzureADTokenExchange"]
    assert _run(capsys, "identity", "list", "--state", state) == [{**made, "federatedCredentials": [credential]}]
    out = state.parent / "token"
    named = (
        "--issuer",
        "wilab",
        "--url",
        "https://c.test",
        "--namespace",
        "kube-system",
        "--service-account",
        "wi-demo-sa",
    )
    assert _run(capsys, "token", "--state", state, *named, "--out", out)[0]["subject"] == subject
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    claims = claims_of(out.read_text())
    assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == (issuer["issuerUrl"], subject, 3600)
    assert sorted(file.name for file in state.parent.iterdir() if "state" not in file.name) == ["token"]


def test_token_is_printed_with_out_dash_only(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --out it is a usage error."""
    _run(capsys, "issuer", "create", "--state", state, "--name", "c")
    named = ("cloud", "token", "--state", str(state), "--issuer", "c", "--url", "https://c.test")
    assert main([*named, "--out", "-"]) == 0
    assert claims_of(capsys.readouterr().out.strip())["sub"] == "system:serviceaccount:default:default"
    assert main(named) == 2


def test_rotate_prints_the_published_keys(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest signs; --retire leaves only that one."""
    ((first,),) = (printed["keys"] for printed in _run(capsys, "issuer", "create", "--state", state, "--name", "c"))
    (rotated,) = _run(capsys, "issuer", "rotate", "--state", state, "--name", "c")
    assert rotated["keys"][0] == first
    (retired,) = _run(capsys, "issuer", "rotate", "--state", state, "--name", "c", "--retire")
    assert len(retired["keys"]) == 1
    assert _run(capsys, "issuer", "list", "--state", state) == [retired]


def test_ca_is_printed_as_pem_and_a_resource_registered_once(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cloud", "ca", "--state", str(state)]) == 0
    with Store(state) as store:
        assert capsys.readouterr().out == store.authority.certificate_pem.decode()
    for _ in range(2):
        assert _run(capsys, "resource", "--state", state, "api://mine") == [{"resources": ["api://mine"]}]


WRONG = {
    "no group": (
        ["federate", "-g", "RG", "--identity", "a", "--issuer", "https://i", "--subject", "s"],
        1,
        "no identity a",
    ),
    "no issuer": (["token", "--issuer", "c", "--url", "https://c", "--out", "-"], 1, "no issuer called c"),
    "bad name": (["identity", "create", "-g", "RG", "-n", "a"], 1, "is not a valid identity name"),
    "bad port": (["serve", "--port", "70000"], 2, "--port"),
}


@pytest.mark.parametrize("arguments, status, words", WRONG.values(), ids=WRONG)
def test_mistake_is_an_error_without_traceback(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    assert main(["cloud", *arguments, "--state", str(state)]) == status
    assert words in capsys.readouterr().err


def test_token_that_cannot_be_written_is_an_error(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is missing, and nothing is left behind."""
    _run(capsys, "issuer", "create", "--state", state, "--name", "c")
    out = state.parent / "absent" / "token"
    named = ["token", "--state", str(state), "--issuer", "c", "--url", "https://c.test", "--out", str(out)]
    assert main(["cloud", *named]) == 2
    assert f"cannot write {out} (No such file or directory)" in capsys.readouterr().err
