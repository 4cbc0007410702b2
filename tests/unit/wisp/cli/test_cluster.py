"""Access to a cluster: kubeconfigs, credentials, proxies and errors."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.wisp.kubernetes import apiserver
from wisp.base.errors import SettingError, ToolError, WispError
from wisp.cli.cluster import Cluster, ClusterError, connect
from wisp.kubernetes.access import access_of
from wisp.kubernetes.kubeconfig import Kubeconfig

ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
V1 = "client.authentication.k8s.io/v1"

Edit = Callable[[dict[str, Any], dict[str, Any]], object]


@pytest.fixture(name="server")
def _server() -> Iterator[apiserver.ApiServer]:
    with apiserver.running() as server:
        server.world.put("clusterroles", {"metadata": {"name": "view"}})
        yield server


@pytest.fixture(name="write")
def _write(server: apiserver.ApiServer, tmp_path: Path) -> Callable[[Edit], Path]:
    """Give a function that writes a kubeconfig, after a function has edited its cluster and its user."""

    def write(edit: Edit) -> Path:
        path = server.write_kubeconfig(tmp_path / "config")
        document = yaml.safe_load(path.read_text())
        edit(document["clusters"][0]["cluster"], document["users"][0]["user"])
        path.write_text(yaml.safe_dump(document))
        return path

    return write


def names(cluster: Cluster) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.objects(ROLES)]


def plugin(script: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": V1, "command": sys.executable, "args": ["-c", script], **fields}


def test_current_context_is_used(server: apiserver.ApiServer, tmp_path: Path) -> None:
    path = server.write_kubeconfig(tmp_path / "config")
    assert names(connect(path, None, {})) == ["view"]
    assert names(connect(path, "it", {})) == ["view"]


def test_files_of_the_variable_are_merged(server: apiserver.ApiServer, tmp_path: Path) -> None:
    """Those that do not exist are skipped."""
    first = tmp_path / "first"
    first.write_text("current-context: it\ncontexts: []\n")
    second = server.write_kubeconfig(tmp_path / "second")
    assert names(connect(None, None, {"KUBECONFIG": f"/nonexistent:{first}::{second}"})) == ["view"]


def test_default_is_the_file_in_the_home_folder(server: apiserver.ApiServer, tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    server.write_kubeconfig(tmp_path / ".kube/config")
    assert names(connect(None, None, {"HOME": str(tmp_path)})) == ["view"]


def test_missing_kubeconfig_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is no kubeconfig"):
        connect(None, None, {"HOME": str(tmp_path)})
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        connect(tmp_path / "no", None, {})
    with pytest.raises(SettingError, match="cannot be read: Is a directory"):
        connect(None, None, {"KUBECONFIG": str(tmp_path)})


def test_unknown_context_is_reported_with_those_that_exist(server: apiserver.ApiServer, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="contexts has no 'prod'") as raised:
        connect(server.write_kubeconfig(tmp_path / "config"), "prod", {})
    assert raised.value.hint == "choose one of its contexts with --context: it"


def test_paths_are_relative_to_the_kubeconfig(
    server: apiserver.ApiServer, write: Callable[[Edit], Path], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(server.ca)
    (tmp_path / "token").write_text(f"{apiserver.TOKEN}\n")

    def edit(cluster: dict[str, Any], user: dict[str, Any]) -> None:
        del cluster["certificate-authority-data"], user["token"]
        cluster["certificate-authority"], user["tokenFile"] = "ca.pem", "token"

    assert names(connect(write(edit), None, {})) == ["view"]


def test_name_in_the_certificate_may_differ_from_the_address(
    server: apiserver.ApiServer, write: Callable[[Edit], Path]
) -> None:
    address = f"https://127.0.0.1:{server.port}"
    path = write(lambda cluster, _: cluster.update(server=address))
    with pytest.raises(ClusterError, match="is not secure"):
        names(connect(path, None, {}))
    path = write(lambda cluster, _: cluster.update({"server": address, "tls-server-name": "localhost"}))
    assert names(connect(path, None, {})) == ["view"]


def test_unknown_authority_is_refused_unless_the_kubeconfig_allows_it(write: Callable[[Edit], Path]) -> None:
    path = write(lambda cluster, _: cluster.pop("certificate-authority-data"))
    with pytest.raises(ClusterError, match=r"is not secure: .*certificate") as raised:
        names(connect(path, None, {}))
    assert "certificate-authority" in raised.value.hint

    def edit(cluster: dict[str, Any], _user: dict[str, Any]) -> None:
        cluster.pop("certificate-authority-data")
        cluster["insecure-skip-tls-verify"] = True

    assert names(connect(write(edit), None, {})) == ["view"]


@pytest.mark.system
def test_plugin_is_run_again_if_its_token_is_not_accepted(write: Callable[[Edit], Path], tmp_path: Path) -> None:
    """Its first token has expired."""
    script = (
        "import json, pathlib, sys; ran = pathlib.Path(sys.argv[1]); "
        f"token = {apiserver.TOKEN!r} if ran.exists() else 'expired'; ran.touch(); "
        f"print(json.dumps({{'apiVersion': {V1!r}, 'kind': 'ExecCredential', 'status': {{'token': token}}}}))"
    )
    credential = plugin(script)
    credential["args"].append(str(tmp_path / "ran"))

    def edit(_cluster: dict[str, Any], user: dict[str, Any]) -> None:
        del user["token"]
        user["exec"] = credential

    assert names(connect(write(edit), None, {})) == ["view"]


def test_plugin_is_not_run_if_there_is_a_token(write: Callable[[Edit], Path]) -> None:
    path = write(lambda _, user: user.update(exec=plugin("", command="/nonexistent")))
    assert names(connect(path, None, {})) == ["view"]


def test_missing_plugin_is_reported_before_a_request(
    server: apiserver.ApiServer, write: Callable[[Edit], Path]
) -> None:
    def edit(_cluster: dict[str, Any], user: dict[str, Any]) -> None:
        user.clear()
        user["exec"] = plugin("", command="kubelogin-missing", installHint="az aks install-cli")

    with pytest.raises(ToolError) as raised:
        connect(write(edit), None, {})
    assert raised.value.hint == "az aks install-cli"
    assert server.world.requests == []


def test_credentials_that_are_not_accepted_are_reported(write: Callable[[Edit], Path]) -> None:
    with pytest.raises(ClusterError, match="does not accept the credentials of the context 'it'") as raised:
        names(connect(write(lambda _, user: user.update(token="wrong")), None, {}))
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize(
    "edit, problem",
    [
        (lambda cluster, _: cluster.update(server="http://localhost:1"), "is not an https URL"),
        (lambda cluster, _: cluster.update(server="https://[::1"), "is not an https URL"),
        (lambda _, user: user.update({"auth-provider": {"name": "gcp"}}), "has auth-provider, which is not supported"),
        (lambda _, user: user.update(username="jane"), "has username, which is not supported"),
        (lambda _, user: user.update({"client-certificate-data": "?"}), "cannot be used: KubeconfigError"),
        (lambda _, user: user.update({"client-certificate-data": "eA=="}), "cannot be used"),
        (lambda _, user: user.update({"client-certificate": "/no.crt"}), "No such file or directory .*/no.crt"),
        (lambda _, user: user.update(tokenFile="/no.token"), "No such file or directory .*/no.token"),
    ],
    ids=["http", "URL", "auth provider", "password", "base64", "certificate", "certificate file", "token file"],
)
def test_unusable_kubeconfig_is_an_error_of_the_settings(
    write: Callable[[Edit], Path], edit: Edit, problem: str
) -> None:
    with pytest.raises(SettingError, match=problem):
        connect(write(edit), None, {})


def test_impersonation_is_passed_on() -> None:
    user = {
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["a", "b"],
        "as-user-extra": {"example.org/team": ["x"]},
    }
    assert access_of(Kubeconfig({"server": "https://api.test"}, user), {}).headers == {
        "Impersonate-User": ["jane"],
        "Impersonate-Uid": ["7"],
        "Impersonate-Group": ["a", "b"],
        "Impersonate-Extra-example.org%2Fteam": ["x"],
    }


def test_access_does_not_show_the_token() -> None:
    config = Kubeconfig({"server": "https://api.test"}, {"token": "s3cret"})
    assert "s3cret" not in repr(access_of(config, {}))


@contextmanager
def running_proxy() -> Iterator[tuple[int, list[bytes]]]:
    """Run a proxy for CONNECT to this machine; give its port and the requests it gets."""
    requests: list[bytes] = []

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the client closes the connection
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        requests.append(head)
        port = int(head.split()[1].rpartition(b":")[2])
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy, args=(server, client))
            back.start()
            copy(client, server)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], requests


def test_proxy_of_the_kubeconfig_is_used(server: apiserver.ApiServer, write: Callable[[Edit], Path]) -> None:
    with running_proxy() as (port, requests):
        proxy = f"http://user:wo%72d@127.0.0.1:{port}"
        assert names(connect(write(lambda cluster, _: cluster.update({"proxy-url": proxy})), None, {})) == ["view"]
    assert requests[0].startswith(f"CONNECT localhost:{server.port} ".encode())
    assert b"Basic dXNlcjp3b3Jk" in requests[0]


@pytest.mark.parametrize(
    "url, bypassed, proxy",
    [
        ("https://api.test", "", "http://proxy.test:3128"),
        ("https://api.test", "api.test", ""),
        ("https://api.test", ".test", ""),
        ("https://10.1.2.3", "192.168.0.0/16, 10.0.0.0/8", ""),
        ("https://10.1.2.3", "192.168.0.0/16", "http://proxy.test:3128"),
        ("https://127.0.0.1:6443", "", ""),
        ("https://localhost:6443", "", ""),
        ("https://[::1]:6443", "", ""),
    ],
    ids=["proxy", "host", "domain", "network", "another network", "loopback", "localhost", "IPv6"],
)
def test_proxy_of_the_environment_is_used_as_kubectl_does(
    monkeypatch: pytest.MonkeyPatch, url: str, bypassed: str, proxy: str
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", bypassed)
    assert access_of(Kubeconfig({"server": url}, {}), {}).proxy == proxy


def test_unsupported_proxy_is_an_error(write: Callable[[Edit], Path]) -> None:
    path = write(lambda cluster, _: cluster.update({"proxy-url": "socks5://user:s3cret@127.0.0.1:1"}))
    with pytest.raises(SettingError, match=r"the proxy socks5://127\.0\.0\.1 is not supported") as raised:
        connect(path, None, {})
    assert "s3cret" not in str(raised.value)


def test_unreachable_proxy_is_reported(write: Callable[[Edit], Path]) -> None:
    path = write(lambda cluster, _: cluster.update({"proxy-url": "http://127.0.0.1:1"}))
    with pytest.raises(ClusterError, match=r"the proxy http://127\.0\.0\.1 does not connect"):
        names(connect(path, None, {}))


def test_unreachable_server_is_reported(server: apiserver.ApiServer, tmp_path: Path) -> None:
    cluster = connect(server.write_kubeconfig(tmp_path / "config"), None, {})
    server.stop()
    with pytest.raises(ClusterError, match=f"https://localhost:{server.port} cannot be reached: connection refused"):
        names(cluster)


def test_closed_connection_is_reported(server: apiserver.ApiServer, tmp_path: Path) -> None:
    server.world.fault = lambda _method, _path: 0
    with pytest.raises(ClusterError, match="it closed the connection"):
        names(connect(server.write_kubeconfig(tmp_path / "config"), None, {}))


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_refusal_is_reported_with_its_message(server: apiserver.ApiServer, tmp_path: Path, status: int) -> None:
    server.world.fault = lambda _method, _path: status
    with pytest.raises(ClusterError, match="a fault on request") as raised:
        names(connect(server.write_kubeconfig(tmp_path / "config"), None, {}))
    assert raised.value.status == status


def test_list_that_expires_again_and_again_is_an_error(server: apiserver.ApiServer, tmp_path: Path) -> None:
    server.world.fault = lambda _method, _path: 410
    with pytest.raises(WispError, match="changes faster than it can be read"):
        names(connect(server.write_kubeconfig(tmp_path / "config"), None, {}))


def test_object_that_does_not_exist_is_none(server: apiserver.ApiServer, tmp_path: Path) -> None:
    cluster = connect(server.write_kubeconfig(tmp_path / "config"), None, {})
    assert cluster.get(f"{ROLES}/no") is None
    assert cluster.get(f"{ROLES}/view") is not None
    assert cluster.delete(f"{ROLES}/no", {"metadata": {}}) is False
