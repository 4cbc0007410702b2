"""The cloud as a process: real sockets, real TLS, real signals, unmodified clients."""

import json
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import jwt
import pytest
import urllib3
from azure.identity import ClientAssertionCredential, WorkloadIdentityCredential

from tests.support.waiting import PATIENCE
from tests.unit.wisp_local.cloud.process import WISP, Running, exchange, running, workload
from tests.unit.wisp_local.cloud.small_azure import ARM, claims_of
from wisp.base.errors import SettingError
from wisp_local.cloud.serving import Settings, base_url, serve
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.system


def _keys(cloud: Running, tenant: str) -> list[dict[str, str]]:
    with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
        keys = pool.request("GET", f"{cloud.url}/{tenant}/discovery/keys").json()["keys"]
    assert isinstance(keys, list)
    return keys


def test_keys_and_ids_survive_a_restart(tmp_path: Path) -> None:
    """The CA alone is enough to trust the server."""
    state = tmp_path / "state.db"
    with running(state) as cloud:
        asks = workload(state, cloud.url)
        answer = exchange(cloud, asks)
        assert answer.status == 200
        token = answer.json()["access_token"]
        keys, port = _keys(cloud, asks.tenant), int(cloud.url.rpartition(":")[2])
        assert cloud.end() == 0
    with running(state, port=port) as cloud:
        assert _keys(cloud, asks.tenant) == keys
        key = jwt.PyJWKSet.from_dict({"keys": keys})[jwt.get_unverified_header(token)["kid"]]
        assert jwt.decode(token, key, ["RS256"], audience=ARM)["appid"] == asks.client_id
        assert exchange(cloud, asks).status == 200
        assert cloud.end(signal.SIGINT) == 0


def test_killed_server_loses_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with running(state) as cloud:
        asks = workload(state, cloud.url)
        token = exchange(cloud, asks).json()["access_token"]
        assert cloud.end(signal.SIGKILL) == -signal.SIGKILL
    with Store(state) as store:
        assert store.tenant().id == asks.tenant
        assert store.identity("WorkloadIdentityRG", "wi-demo-identity").client_id == asks.client_id
        assert [key.key_id for key in store.issuers.token_keys()] == [jwt.get_unverified_header(token)["kid"]]


def test_azure_identity_gets_a_token_unmodified(tmp_path: Path) -> None:
    """Microsoft's own client: from a token file and from a function, without instance discovery."""
    state = tmp_path / "state.db"
    with running(state) as cloud:
        asks = workload(state, cloud.url)
        (tmp_path / "token").write_text(asks.assertion)
        common = {"authority": cloud.url, "disable_instance_discovery": True, "connection_verify": cloud.ca_file}
        with WorkloadIdentityCredential(
            tenant_id=asks.tenant, client_id=asks.client_id, token_file_path=str(tmp_path / "token"), **common
        ) as credential:
            assert claims_of(credential.get_token(f"{ARM}.default").token)["appid"] == asks.client_id
        with ClientAssertionCredential(asks.tenant, asks.client_id, lambda: asks.assertion, **common) as second:
            assert claims_of(second.get_token(f"{ARM}/.default", enable_cae=True).token)["xms_cc"] == ["CP1"]


def test_certificate_has_every_advertised_name(tmp_path: Path) -> None:
    """The first one is in URLs; loopback is always included; the CA stays the same."""
    state = tmp_path / "state.db"
    with running(state) as cloud:
        before = Path(cloud.ca_file).read_bytes()
    with running(
        state,
        "--host",
        "0.0.0.0",  # noqa: S104 -- what is tested
        "--advertise",
        "cloud.test",
        "--advertise",
        "10.9.8.7",
    ) as cloud:
        port = int(cloud.url.rpartition(":")[2])
        assert cloud.url == f"https://cloud.test:{port}"
        assert Path(cloud.ca_file).read_bytes() == before
        strict = ssl.create_default_context(cafile=cloud.ca_file)
        strict.verify_flags |= ssl.VERIFY_X509_STRICT  # Python 3.13's default
        for name in ("cloud.test", "10.9.8.7", "localhost", "127.0.0.1", "::1"):
            with urllib3.HTTPSConnectionPool(
                "127.0.0.1", port, ssl_context=strict, assert_hostname=name, server_hostname=name
            ) as pool:
                assert pool.request("GET", "/healthz").status == 200


def test_idle_connection_does_not_delay_the_exit(tmp_path: Path) -> None:
    with running(tmp_path / "state.db") as cloud:
        host, _, port = cloud.url.removeprefix("https://").rpartition(":")
        with socket.create_connection((host, int(port))), urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
            assert pool.request("GET", f"{cloud.url}/healthz").status == 200
            cloud.process.send_signal(signal.SIGTERM)
            assert cloud.process.wait(PATIENCE) == 0


def test_a_port_in_use_is_reported_with_a_hint(tmp_path: Path) -> None:
    """It names the port and what to do, with the status of a setting that is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = (*WISP, "serve", "--state", str(tmp_path / "s"), "--port", str(port))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: cannot listen on port {port} of 127.0.0.1 (Address already in use)\n"
        "hint: choose another --host or --port\n"
    )


def test_azure_cloud_is_an_option(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with running(state, "--azure-cloud", "AzureUSGovernmentCloud") as cloud:
        asks = workload(state, cloud.url)
        assert exchange(cloud, asks).json()["error_codes"] == [500011]
        with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
            told = pool.request("GET", f"{cloud.url}/metadata/endpoints?api-version=2022-09-01").json()
        assert "https://management.usgovcloudapi.net/" in told["authentication"]["audiences"]


def test_several_addresses_share_one_port(tmp_path: Path) -> None:
    """All answer with the same certificate, and with URLs of their own."""
    with running(tmp_path / "s", "--host", "127.0.0.1", "--host", "127.0.0.2") as cloud:
        port = cloud.url.rpartition(":")[2]
        with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
            for host in ("127.0.0.1", "127.0.0.2"):
                url = f"https://{host}:{port}"
                assert pool.request("GET", f"{url}/").status == 200
                told = pool.request("GET", f"{url}/metadata/endpoints?api-version=2022-09-01").json()
                assert told["resourceManager"] == f"{url}/"


def test_one_unavailable_address_of_several_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(tmp_path / "s", ("127.0.0.1", "127.0.0.2"), port)
        with pytest.raises(SettingError, match=f"cannot listen on port {port} of 127.0.0.2"):
            serve(settings)


@pytest.mark.parametrize(
    "hosts, page, on",
    [
        (("127.0.0.1",), None, ("127.0.0.1",)),
        (("10.0.0.1",), None, ()),
        (("10.0.0.1", "127.0.0.1", "localhost", "::1"), None, ("127.0.0.1", "localhost", "::1")),
        (("10.0.0.1", "127.0.0.1"), True, ("10.0.0.1", "127.0.0.1")),
        (("127.0.0.1",), False, ()),
    ],
)
def test_page_is_on_loopback_by_default_and_elsewhere_on_request(
    hosts: tuple[str, ...],
    page: bool | None,  # noqa: FBT001 -- a parameter of the table
    on: tuple[str, ...],
) -> None:
    settings = Settings(Path("s"), hosts, page=page)
    assert settings.page_hosts == on
    assert settings.has_page is bool(on)


UNUSABLE = {
    "host no name": ({"hosts": ("no host",)}, "not a host name"),
    "advertised url": ({"advertise": ("https://x",)}, "not a host name"),
    "host unknown": ({"hosts": ("absent.invalid",)}, "cannot listen on port 0 of absent.invalid"),
    "host elsewhere": ({"hosts": ("127.0.0.1", "192.0.2.1")}, "cannot listen on port [0-9]+ of 192.0.2.1"),
    "ca absent": ({"issuer_ca": Path("absent.pem")}, "CA file absent.pem cannot be used"),
}


@pytest.mark.parametrize("changes, words", UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_settings_are_refused_at_once(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    settings = Settings(tmp_path / "s", **{"port": 0, **changes})  # type: ignore[arg-type]  # the table's own business
    with pytest.raises(SettingError, match=words):
        serve(settings)


def test_ca_file_without_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SettingError, match="cannot be used"):
        serve(Settings(tmp_path / "s", port=0, issuer_ca=tmp_path / "ca.pem"))


def test_unwritable_ca_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.ca.pem").mkdir()
    with pytest.raises(SettingError, match=r"s\.ca\.pem"):
        serve(Settings(tmp_path / "s", port=0))
    assert not list(tmp_path.glob(".s.ca*"))


@pytest.mark.parametrize(
    "host, port, url",
    [("h.test", 8443, "https://h.test:8443"), ("::1", 1, "https://[::1]:1"), ("10.0.0.1", 443, "https://10.0.0.1")],
)
def test_base_url_is_written_as_clients_write_it(host: str, port: int, url: str) -> None:
    """Issuers are compared as text."""
    assert base_url(host, port) == url


def test_requests_are_logged_as_json_lines(tmp_path: Path) -> None:
    """On standard error, and nothing on standard output."""
    command = (*WISP, "serve", "--state", str(tmp_path / "s"), "--port", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        with urllib3.PoolManager(ca_certs=event["ca_file"]) as pool:
            pool.request("GET", f"{event['url']}/healthz?token=x")
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE)
    assert output == ""
    line = json.loads(errors)
    assert (line["path"], line["status"]) == ("/healthz", 200)
