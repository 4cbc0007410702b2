"""Outgoing connections of a real sidecar: identity bindings and forward proxies in its environment."""

from base64 import b64encode
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.contract.faults.faulty_authority import FaultyAuthority
from tests.contract.faults.forwarding import FakeForwardProxy, says, wants
from tests.support.fakes import ARM, CLIENT_ID
from tests.unit.wisp.proxy.sidecar import Pod, pod, run, running

pytestmark = pytest.mark.system

SNI = "1f2e.sni.test"
PASSWORD = "hunter2"


@pytest.fixture
def custom(tmp_path: Path) -> Generator[FaultyAuthority]:
    """Return a custom token endpoint."""
    with FaultyAuthority(tmp_path, names=(SNI,)) as authority:
        yield authority


@pytest.fixture
def bound(tmp_path: Path, custom: FaultyAuthority) -> Pod:
    """Return a pod with an identity binding as the webhook creates it; its authority is unreachable."""
    own = pod(tmp_path, "https://login.invalid/")
    own.environment["AZURE_KUBERNETES_TOKEN_PROXY"] = f"{custom.url}x"
    own.environment["AZURE_KUBERNETES_SNI_NAME"] = SNI
    return own


def test_token_comes_from_the_custom_endpoint_with_a_ca_file(custom: FaultyAuthority, bound: Pod) -> None:
    """The log names the endpoint."""
    bound.environment["AZURE_KUBERNETES_CA_FILE"] = str(custom.ca_file)
    with running(bound) as sidecar:
        assert sidecar.token().document["resource"] == ARM
        assert custom.posts[0].line.startswith("POST /x/")
        assert (custom.server_names, sidecar.events()[0]["sni_name"]) == ([SNI], SNI)
        assert sidecar.events()[0]["token_proxy"] == f"{custom.url}x/"


def test_100_kb_of_ca_data_reach_the_exchange_process(custom: FaultyAuthority, bound: Pod) -> None:
    """The log does not repeat them."""
    bound.environment["AZURE_KUBERNETES_CA_DATA"] = "# many words\n" * 8000 + custom.ca_file.read_text()
    with running(bound) as sidecar:
        assert sidecar.token().status == 200
        assert "CERTIFICATE" not in str(sidecar.events())


@pytest.fixture
def distant(tmp_path: Path) -> Generator[FaultyAuthority]:
    """Return an authority whose name only forward proxies can resolve."""
    with FaultyAuthority(tmp_path) as authority:
        yield authority


@pytest.fixture
def proxied(tmp_path: Path, distant: FaultyAuthority) -> Generator[tuple[Pod, FakeForwardProxy]]:
    """Return a pod behind a forward proxy that requires credentials."""
    own = pod(tmp_path, distant.distant_url)
    authorization = b64encode(f"user:{PASSWORD}".encode()).decode()
    with FakeForwardProxy(wants(f"Basic {authorization}")) as proxy:
        own.environment["HTTPS_PROXY"] = f"http://user:{PASSWORD}@{proxy.address}"
        yield own, proxy


def test_token_comes_through_the_forward_proxy(proxied: tuple[Pod, FakeForwardProxy], distant: FaultyAuthority) -> None:
    """The proxy's password never becomes visible, also when either side fails."""
    own, proxy = proxied
    with running(own, "--authority-ca", str(distant.ca_file)) as sidecar:
        assert sidecar.token().status == 200
        assert (len(proxy.heads), len(distant.posts)) == (1, 1)
        proxy.treatment = says(b"HTTP/1.1 403 hunter2\r\n\r\n")
        distant.hang_up()
        token = sidecar.token("https://vault.azure.net")
        assert token.status == 503
        assert f"the proxy http://{proxy.address} (HTTPS_PROXY)" in token.document["error_description"]
        assert sidecar.events()[0]["forward_proxy"] == f"http://{proxy.address}"
        assert PASSWORD not in str(sidecar.events())
    assert PASSWORD not in "".join(sidecar.output)


def test_authority_in_no_proxy_is_connected_to_directly(
    proxied: tuple[Pod, FakeForwardProxy], distant: FaultyAuthority
) -> None:
    """Its name then does not resolve; loopback needs no entry."""
    own, proxy = proxied
    own.environment["NO_PROXY"] = "10.0.0.0/8,.test"
    with running(own, "--authority-ca", str(distant.ca_file)) as sidecar:
        assert "its name cannot be resolved" in sidecar.token().document["error_description"]
    own.environment.update(AZURE_AUTHORITY_HOST=distant.url, NO_PROXY="")
    with running(own, "--authority-ca", str(distant.ca_file)) as sidecar:
        assert sidecar.token().status == 200
        assert "forward_proxy" not in sidecar.events()[0]
    assert not proxy.heads


@pytest.mark.parametrize(
    "environment, reason",
    [
        pytest.param(
            {"AZURE_KUBERNETES_TOKEN_PROXY": f"https://u:{PASSWORD}@x/"}, "TOKEN_PROXY is not an https", id="user info"
        ),
        pytest.param({"AZURE_KUBERNETES_SNI_NAME": "x"}, "AZURE_KUBERNETES_TOKEN_PROXY is not:", id="no endpoint"),
        pytest.param({"HTTPS_PROXY": f"socks5://u:{PASSWORD}@x"}, "HTTPS_PROXY is not the URL", id="a SOCKS proxy"),
        pytest.param({"AZURE_AUTHORITY_HOST": "AzureChinaCloud"}, "use its authority, https://login.ch", id="a cloud"),
    ],
)
def test_invalid_proxy_or_endpoint_stops_the_start(environment: dict[str, str], reason: str) -> None:
    """The error names the variable, the hint what to do, and neither contains a password."""
    good = {"AZURE_TENANT_ID": "contoso", "AZURE_CLIENT_ID": CLIENT_ID, "AZURE_FEDERATED_TOKEN_FILE": "/nowhere"}
    ended = run(**good, **environment)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 2)
    assert reason in ended.stderr.replace("\nhint", "")
    assert PASSWORD not in ended.stderr
