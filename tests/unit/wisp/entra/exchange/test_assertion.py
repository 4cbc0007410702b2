"""The assertion's file: each fault has a message of its own."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fakes import jwt
from wisp.base.secret import Secret
from wisp.entra.exchange.assertion import read_assertion
from wisp.entra.messages import Refused

ASSERTION = jwt(sub="system:serviceaccount:default:default")


@pytest.mark.parametrize("text", [ASSERTION, f"{ASSERTION}\n", f"  {ASSERTION}\r\n"], ids=["bare", "line", "blanks"])
def test_a_token(tmp_path: Path, text: str) -> None:
    """Blanks around it are not its own."""
    file = tmp_path / "token"
    file.write_text(text)
    assert read_assertion(str(file)) == Secret(ASSERTION)


def test_a_token_through_links(tmp_path: Path) -> None:
    """A projected volume is a link to a link, replaced as a whole."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "token").write_text(ASSERTION)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "token").symlink_to("..data/token")
    assert read_assertion(str(tmp_path / "token")) == Secret(ASSERTION)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    "make, said",
    [
        pytest.param(lambda _: None, "no such file", id="missing"),
        pytest.param(Path.mkdir, "not a regular file", id="directory"),
        pytest.param(os.mkfifo, "not a regular file", id="FIFO"),
        pytest.param(_socket, "no such device or address", id="socket"),
        pytest.param(lambda file: file.symlink_to(file), "too many levels", id="a link to itself"),
        pytest.param(lambda file: file.write_text(""), "empty", id="empty"),
        pytest.param(lambda file: file.write_text(" \n\n"), "empty", id="blank"),
        pytest.param(lambda file: file.write_text("x" * 65537), "larger than 65536", id="huge"),
        pytest.param(lambda file: os.truncate(os.open(file, os.O_CREAT | os.O_RDWR), 1 << 40), "larger", id="sparse"),
        pytest.param(lambda file: file.write_bytes(bytes(range(256))), "no JWT", id="binary"),
        pytest.param(lambda file: file.write_text("hello"), "no JWT", id="no JWT"),
        pytest.param(lambda file: file.write_text("a..c"), "no JWT", id="an empty part"),
        pytest.param(lambda file: file.write_text(f"{ASSERTION} {ASSERTION}"), "no JWT", id="two JWTs"),
        pytest.param(lambda file: file.write_text(f"Bearer {ASSERTION}"), "no JWT", id="a header"),
        pytest.param(lambda file: file.write_text(f"{ASSERTION}.x"), "no JWT", id="four parts"),
    ],
)
def test_a_file_without_a_usable_token_is_reported(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """The refusal names the file, the variable and the fault; it may pass, so it is a 503."""
    file = tmp_path / "token"
    make(file)
    refused = read_assertion(str(file))
    assert isinstance(refused, Refused)
    assert (refused.status, refused.cause) == (503, "token_file")
    assert said in refused.description
    assert str(file) in refused.description
    assert "AZURE_FEDERATED_TOKEN_FILE" in refused.description
    assert ASSERTION not in refused.description


def test_no_descriptor_is_lost(tmp_path: Path) -> None:
    """A fault repeated does not use the process up."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        read_assertion(str(tmp_path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.needs("root")
def test_a_file_of_another_user(tmp_path: Path) -> None:
    """A file that this user may not read is said to be so."""
    file = tmp_path / "token"
    file.write_text(ASSERTION)
    file.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.seteuid(1501)
    try:
        refused = read_assertion(str(file))
    finally:
        os.seteuid(0)
    assert isinstance(refused, Refused)
    assert f"{file} (AZURE_FEDERATED_TOKEN_FILE) cannot be used: permission denied" in refused.description
