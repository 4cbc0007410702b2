"""Address and credentials of the API server, from a kubeconfig or inside a pod."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.certificates import server_certificate
from wisp.base.errors import SettingError
from wisp.kubernetes.config import from_kubeconfig, in_cluster

CERTIFICATE = server_certificate("localhost")


def data(value: bytes) -> str:
    """Encode with base64."""
    return base64.b64encode(value).decode()


def write(folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    """Write a kubeconfig file."""
    document = {
        "current-context": "this",
        "contexts": [{"name": "other", "context": {}}, {"name": "this", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://api:6443/base/", "certificate-authority-data": data(CERTIFICATE.ca)}
                | (cluster or {}),
            }
        ],
        "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_address_and_token_come_from_the_current_context(tmp_path: Path) -> None:
    server = from_kubeconfig(write(tmp_path))
    assert server[:3] == ("api", 6443, "/base")
    token = server.token()
    assert token is not None
    assert token.reveal() == "t"


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    """They do not start at the working directory. A token file is read again at each use."""
    (tmp_path / "ca.crt").write_bytes(CERTIFICATE.ca)
    (tmp_path / "token").write_text("first\n")
    cluster = {"certificate-authority-data": None, "certificate-authority": "ca.crt"}
    server = from_kubeconfig(write(tmp_path, cluster=cluster, user={"tokenFile": "token"}))
    (tmp_path / "token").write_text("second\n")
    token = server.token()
    assert token is not None
    assert token.reveal() == "second"


def test_client_certificate_needs_no_token(tmp_path: Path) -> None:
    """Administrators' kubeconfigs have client certificates."""
    user = {
        "client-certificate-data": data(CERTIFICATE.chain),
        "client-key-data": data(CERTIFICATE.key.reveal().encode()),
    }
    assert from_kubeconfig(write(tmp_path, user=user)).token() is None


@pytest.mark.parametrize(
    "cluster, user, words",
    [
        pytest.param({"server": "http://api"}, None, "not an https URL", id="http"),
        pytest.param(
            {"insecure-skip-tls-verify": True}, None, "tls-verify is not supported", id="insecure-skip-tls-verify"
        ),
        pytest.param({"certificate-authority-data": "!"}, None, "not base64", id="not base64"),
        pytest.param(
            {"certificate-authority-data": data(b"x")}, None, "not a usable kubeconfig", id="not a certificate"
        ),
        pytest.param({"proxy-url": "http://p"}, None, "proxy-url is not supported", id="a proxy"),
        pytest.param(None, {"exec": {"command": "kubelogin"}}, "exec is not supported", id="a plug-in"),
        pytest.param(None, {"tokenFile": "nowhere"}, "nowhere", id="missing token file"),
    ],
)
def test_unusable_or_unsupported_entry_is_reported(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        from_kubeconfig(write(tmp_path, cluster=cluster, user=user))


@pytest.mark.parametrize("text", ["", "[]", "a: b", "{", "current-context: x\ncontexts: []"])
def test_file_that_is_not_a_kubeconfig_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(SettingError, match="not a usable kubeconfig"):
        from_kubeconfig(tmp_path / "config")


def test_pod_finds_address_token_and_ca(tmp_path: Path) -> None:
    """The address is in the environment, token and CA are in files; the token is read again at each use."""
    (tmp_path / "ca.crt").write_bytes(CERTIFICATE.ca)
    (tmp_path / "token").write_text("first")
    server = in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    (tmp_path / "token").write_text("second")
    token = server.token()
    assert token is not None
    assert (server.host, server.port, token.reveal()) == ("10.0.0.1", 6443, "second")


@pytest.mark.parametrize(
    "environ, hint",
    [({}, "--kubeconfig"), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "automountServiceAccountToken")],
    ids=["no address", "no service account"],
)
def test_hint_says_what_to_do_outside_a_pod(tmp_path: Path, environ: dict[str, str], hint: str) -> None:
    with pytest.raises(SettingError, match=hint):
        in_cluster(environ, tmp_path)
