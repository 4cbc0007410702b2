"""The way to the API server: kubeconfig files, and what a pod finds."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from wisp.base.errors import SettingError
from wisp.kubernetes.config import cluster_place, from_kubeconfig, in_cluster
from wisp.webhook.certificates import authority

KEPT = authority.make(["localhost"], now=1_700_000_000.0, authority_seconds=1e9, leaf_seconds=1e9)


def data(value: bytes) -> str:
    """Return base64."""
    return base64.b64encode(value).decode()


def write(folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    """Write a kubeconfig file."""
    document = {
        "current-context": "this",
        "contexts": [{"name": "other", "context": {}}, {"name": "this", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://api:6443/base/", "certificate-authority-data": data(KEPT.bundle)}
                | (cluster or {}),
            }
        ],
        "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_token(tmp_path: Path) -> None:
    """Host, port, path and token of the current context."""
    access = from_kubeconfig(write(tmp_path))
    assert access[:3] == ("api", 6443, "/base")
    token = access.token()
    assert token is not None
    assert token.reveal() == "t"


def test_files_beside_it(tmp_path: Path) -> None:
    """Relative paths are of the file's folder; a token file is read anew each time."""
    (tmp_path / "ca.crt").write_bytes(KEPT.bundle)
    (tmp_path / "token").write_text("first\n")
    cluster = {"certificate-authority-data": None, "certificate-authority": "ca.crt"}
    access = from_kubeconfig(write(tmp_path, cluster=cluster, user={"tokenFile": "token"}))
    (tmp_path / "token").write_text("second\n")
    token = access.token()
    assert token is not None
    assert token.reveal() == "second"


def test_a_client_certificate(tmp_path: Path) -> None:
    """As administrators have them; there is no token then."""
    user = {
        "client-certificate-data": data(KEPT.chain),
        "client-key-data": data(KEPT.key.reveal().encode()),
    }
    assert from_kubeconfig(write(tmp_path, user=user)).token() is None


@pytest.mark.parametrize(
    "cluster, user, words",
    [
        pytest.param({"server": "http://api"}, None, "not an https URL", id="http"),
        pytest.param({"insecure-skip-tls-verify": True}, None, "tls-verify is not supported", id="no TLS"),
        pytest.param({"certificate-authority-data": "!"}, None, "not base64", id="no base64"),
        pytest.param({"certificate-authority-data": data(b"x")}, None, "not a usable kubeconfig", id="no certificate"),
        pytest.param({"proxy-url": "http://p"}, None, "proxy-url is not supported", id="a proxy"),
        pytest.param(None, {"exec": {"command": "kubelogin"}}, "exec is not supported", id="a plug-in"),
        pytest.param(None, {"tokenFile": "nowhere"}, "nowhere", id="a file that is not there"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], words: str) -> None:
    """Is a setting that says what is wrong."""
    with pytest.raises(SettingError, match=words):
        from_kubeconfig(write(tmp_path, cluster=cluster, user=user))


@pytest.mark.parametrize("text", ["", "[]", "a: b", "{", "current-context: x\ncontexts: []"])
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    """Likewise."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(SettingError, match="not a usable kubeconfig"):
        from_kubeconfig(tmp_path / "config")


def test_in_a_pod(tmp_path: Path) -> None:
    """The address comes in the environment, token and CA in files; the token is read anew each time."""
    place = cluster_place({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"})
    (tmp_path / "ca.crt").write_bytes(KEPT.bundle)
    (tmp_path / "token").write_text("first")
    access = in_cluster(place, tmp_path)
    (tmp_path / "token").write_text("second")
    token = access.token()
    assert token is not None
    assert (access.host, access.port, token.reveal()) == ("10.0.0.1", 6443, "second")


def test_not_in_a_pod(tmp_path: Path) -> None:
    """The remedy is named."""
    with pytest.raises(SettingError, match="--kubeconfig"):
        cluster_place({})
    with pytest.raises(SettingError, match="automountServiceAccountToken"):
        in_cluster(("10.0.0.1", 443), tmp_path)
