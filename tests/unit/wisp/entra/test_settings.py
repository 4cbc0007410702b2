"""Settings are valid, or one error says which is not and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wisp.base.errors import SettingError
from wisp.base.isolation import child_environment
from wisp.base.secret import Secret
from wisp.entra.settings import (
    ExchangeSettings,
    WorkloadSettings,
    exchange_settings,
    workload_settings,
)

TENANT = "0f1e2d3c-0000-4000-8000-000000000001"
CLIENT_ID = "6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1"
OBJECT_ID = "11111111-2222-3333-4444-555555555555"
GOOD = {
    "AZURE_TENANT_ID": TENANT,
    "AZURE_CLIENT_ID": CLIENT_ID,
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/",
}


def changed(**changes: str | None) -> dict[str, str]:
    """Return valid settings with some changed; None removes one."""
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not None}


def test_variables_of_the_webhook_are_accepted() -> None:
    assert exchange_settings(environ=GOOD) == ExchangeSettings(
        CLIENT_ID, TENANT, GOOD["AZURE_FEDERATED_TOKEN_FILE"], GOOD["AZURE_AUTHORITY_HOST"], None
    )


@pytest.mark.parametrize("client_id", [None, "", "  "])
def test_default_identity_is_optional(client_id: str | None) -> None:
    """A service account need not name one."""
    assert exchange_settings(environ=changed(AZURE_CLIENT_ID=client_id)).client_id is None


@pytest.mark.parametrize("host", [None, "", " "])
def test_public_cloud_is_the_default(host: str | None) -> None:
    """An empty value counts as missing."""
    assert (
        exchange_settings(environ=changed(AZURE_AUTHORITY_HOST=host)).authority == "https://login.microsoftonline.com/"
    )


def test_client_id_is_normalised() -> None:
    """Two spellings of one identity would cause two tokens."""
    assert exchange_settings(environ=changed(AZURE_CLIENT_ID=f" {CLIENT_ID.upper()} ")).client_id == CLIENT_ID


@pytest.mark.parametrize(
    "changes, problem, hint",
    [
        pytest.param({"AZURE_TENANT_ID": None}, "AZURE_TENANT_ID is not set", "az account show", id="no tenant"),
        pytest.param({"AZURE_TENANT_ID": ""}, "AZURE_TENANT_ID is empty", "az account show", id="empty tenant"),
        pytest.param({"AZURE_TENANT_ID": " "}, "AZURE_TENANT_ID is empty", "az account show", id="blank tenant"),
        pytest.param({"AZURE_TENANT_ID": "a/b"}, "AZURE_TENANT_ID is not a tenant: 'a/b'", "GUID", id="odd tenant"),
        pytest.param(
            {"AZURE_FEDERATED_TOKEN_FILE": None}, "AZURE_FEDERATED_TOKEN_FILE is not set", "webhook", id="no token file"
        ),
        pytest.param(
            {"AZURE_FEDERATED_TOKEN_FILE": ""}, "AZURE_FEDERATED_TOKEN_FILE is empty", "the path", id="empty token file"
        ),
        pytest.param(
            {"AZURE_CLIENT_ID": "my-app\n"}, "AZURE_CLIENT_ID is not a GUID: 'my-app'", "client id", id="a name"
        ),
        pytest.param(
            {"AZURE_AUTHORITY_HOST": "http://localhost"},
            "AZURE_AUTHORITY_HOST is not an https URL: 'http://localhost'",
            "https://login.microsoftonline.com/",
            id="an authority in the clear",
        ),
        pytest.param(
            {"AZURE_AUTHORITY_HOST": "https://a\nb/"},
            r"'https://a\nb/'",
            "https://login",
            id="an authority of two lines",
        ),
        pytest.param(
            {"AZURE_AUTHORITY_HOST": "AzureChinaCloud"},
            "AZURE_AUTHORITY_HOST is a cloud's name: 'AzureChinaCloud'",
            "https://login.chinacloudapi.cn/",
            id="a cloud for an authority",
        ),
        pytest.param(
            {"AZURE_KUBERNETES_TOKEN_PROXY": "http://x"},
            "AZURE_KUBERNETES_TOKEN_PROXY is not an https URL",
            "give https",
            id="a token endpoint in the clear",
        ),
        pytest.param(
            {"AZURE_KUBERNETES_TOKEN_PROXY": "https://x", "AZURE_KUBERNETES_CA_FILE": "/no\nwhere"},
            r"AZURE_KUBERNETES_CA_FILE '/no\nwhere': no such file",
            "readable PEM file",
            id="no CA file",
        ),
        pytest.param(
            {"WISP_AUTHORITY_CA_DATA": "/a/file"}, "WISP_AUTHORITY_CA_DATA holds no", "PEM text", id="no CA data"
        ),
        pytest.param({"HTTPS_PROXY": "ftp://x"}, "HTTPS_PROXY is not the URL", "http://HOST:PORT", id="a proxy of ftp"),
    ],
)
def test_bad_setting_is_reported_with_its_variable_and_a_hint(
    changes: dict[str, str | None], problem: str, hint: str
) -> None:
    """Each is one line."""
    with pytest.raises(SettingError) as error:
        exchange_settings(environ=changed(**changes))
    assert problem in error.value.problem
    assert hint in error.value.hint
    assert "\n" not in str(error.value)


def test_password_in_an_authority_is_not_reported() -> None:
    """Readers of the pod's log must not see it."""
    with pytest.raises(SettingError) as error:
        exchange_settings(environ=changed(AZURE_AUTHORITY_HOST="https://user:hunter2@host/"))
    assert "'https://***@host/'" in error.value.problem
    assert "hunter2" not in str(error.value)


BINDING = {"AZURE_KUBERNETES_TOKEN_PROXY": "https://10.0.0.1/", "AZURE_KUBERNETES_SNI_NAME": "sni.test"}


@pytest.mark.parametrize(
    "changes, place, words",
    [
        pytest.param({}, "Entra at https://login.microsoftonline.us/", {}, id="neither"),
        pytest.param(
            BINDING,
            "The token endpoint https://10.0.0.1/ (AZURE_KUBERNETES_TOKEN_PROXY)",
            {"token_proxy": "https://10.0.0.1/", "sni_name": "sni.test"},
            id="a custom token endpoint",
        ),
        pytest.param(
            {"HTTPS_PROXY": "http://user:hunter2@proxy.test:3128"},
            "Entra at https://login.microsoftonline.us/",
            {"forward_proxy": "http://proxy.test:3128"},
            id="a forward proxy",
        ),
        pytest.param(
            {**BINDING, "HTTPS_PROXY": "proxy.test:3128"},
            "The token endpoint https://10.0.0.1/ (AZURE_KUBERNETES_TOKEN_PROXY)",
            {"token_proxy": "https://10.0.0.1/", "sni_name": "sni.test", "forward_proxy": "http://proxy.test:3128"},
            id="both",
        ),
        pytest.param(
            {**BINDING, "HTTPS_PROXY": "proxy.test:3128", "NO_PROXY": "10.0.0.0/8"},
            "The token endpoint https://10.0.0.1/ (AZURE_KUBERNETES_TOKEN_PROXY)",
            {"token_proxy": "https://10.0.0.1/", "sni_name": "sni.test"},
            id="a token endpoint that is exempt",
        ),
    ],
)
def test_authority_is_described_without_credentials(changes: dict[str, str], place: str, words: dict[str, str]) -> None:
    """The description names a custom endpoint and a proxy. It is used in errors and in the log."""
    settings = exchange_settings(environ=changed(**changes))
    assert settings.endpoint_name == place
    assert settings.described().items() >= words.items()
    assert settings.described().keys() == {*ExchangeSettings._fields[:5], *words}
    assert "hunter2" not in repr(settings)


def test_ca_file_of_a_binding_is_checked_at_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    settings = exchange_settings(environ=changed(**BINDING, AZURE_KUBERNETES_CA_FILE=str(file)))
    assert settings.token_proxy is not None
    assert settings.token_proxy.ca_file == str(file)


@pytest.mark.parametrize(
    "make, problem",
    [
        pytest.param(lambda _: None, "no such file", id="missing"),
        pytest.param(Path.mkdir, "is a directory", id="directory"),
        pytest.param(os.mkfifo, "holds no certificate", id="FIFO"),
        pytest.param(Path.touch, "holds no certificate", id="empty"),
        pytest.param(lambda file: file.write_bytes(b"\x30\x82\x01"), "holds no certificate", id="DER"),
    ],
)
def test_bad_ca_file_is_reported_with_the_flag(tmp_path: Path, make: object, problem: str) -> None:
    """A FIFO does not block the start."""
    assert callable(make)
    file = tmp_path / "ca\n.pem"
    make(file)
    with pytest.raises(SettingError) as error:
        exchange_settings(str(file), GOOD)
    assert problem in str(error.value)
    assert f"--authority-ca {str(file)!r}" in error.value.problem


def test_ca_file_may_have_text_before_its_certificates(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("# our own\n-----BEGIN CERTIFICATE-----\n")
    assert exchange_settings(str(file), GOOD).authority_ca == str(file)


def test_ca_certificate_can_be_given_in_a_variable() -> None:
    """The webhook sets it for an authority with a private CA; an empty one counts as missing."""
    pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----"
    assert exchange_settings(environ=changed(WISP_AUTHORITY_CA_DATA=f"{pem}\n")).authority_ca_data == pem
    assert exchange_settings(environ=changed(WISP_AUTHORITY_CA_DATA=" ")).authority_ca_data is None


def test_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert exchange_settings() == exchange_settings(environ=GOOD)


def test_child_processes_get_few_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those that they need, and none that runs code or logs keys."""
    needed = {"SSL_CERT_FILE": "f", "SSL_CERT_DIR": "d", "LANG": "C.UTF-8", "LC_ALL": "C", "LD_LIBRARY_PATH": "/l"}
    others = ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "OPENSSL_CONF", "OPENSSL_MODULES", "SSLKEYLOGFILE", "PATH")
    assert child_environment({**needed, **dict.fromkeys(others, "x"), **GOOD}) == needed
    monkeypatch.setenv("SSL_CERT_DIR", "/some/folder")
    assert child_environment()["SSL_CERT_DIR"] == "/some/folder"


def test_workload_settings_are_read() -> None:
    """The header's value is not printed."""
    environ = {"AZURE_OBJECT_ID": OBJECT_ID, "AZURE_RESOURCE_ID": "/subscriptions/s", "IDENTITY_HEADER": "a-header"}
    settings = workload_settings(environ)
    assert settings == WorkloadSettings(OBJECT_ID, "/subscriptions/s", Secret("a-header"))
    assert "a-header" not in repr(settings)


@pytest.mark.parametrize("environ", [{}, {"AZURE_OBJECT_ID": "", "AZURE_RESOURCE_ID": " ", "IDENTITY_HEADER": ""}])
def test_workload_settings_are_optional(environ: dict[str, str]) -> None:
    """An empty value counts as missing."""
    assert workload_settings(environ) == WorkloadSettings()


def test_required_identity_header_must_be_enabled_and_configured() -> None:
    required = {"WISP_IDENTITY_HEADER_REQUIRED": "true"}
    assert workload_settings({**required, "IDENTITY_HEADER": "a-header"}).header_required
    with pytest.raises(SettingError, match="without IDENTITY_HEADER: set both or none"):
        workload_settings(required)


@pytest.mark.parametrize("name", ["AZURE_OBJECT_ID", "AZURE_RESOURCE_ID"])
def test_invalid_name_is_reported_with_its_variable(name: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} is not a "):
        workload_settings({name: "wi-demo-identity"})


def test_rarely_needed_modules_are_not_loaded() -> None:
    """Few sidecars have a custom token endpoint or a forward proxy, and all pay for the memory."""
    script = (
        "import sys; from wisp.entra.settings import exchange_settings; exchange_settings();"
        "assert not {'wisp.entra.token_proxy', 'wisp.entra.forward_proxy', 'ipaddress'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], env=GOOD, check=True)
