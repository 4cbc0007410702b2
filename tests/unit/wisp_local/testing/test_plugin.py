"""The plugin as another team uses it: a project of its own, and a pytest that knows nothing of this one's."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, wait_until

pytest_plugins = ["pytester"]


CONFTEST = 'pytest_plugins = ["wisp_local.testing"]\n'


STRICT = ("-W", "error", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def _team(pytester: pytest.Pytester) -> None:
    """Give the team's project the one line that names the plugin."""
    pytester.makeconftest(CONFTEST)


def _log_of(process: Path) -> Path:
    try:
        return (process / "fd/2").readlink()
    except OSError:  # it has ended, or is another user's
        return Path()


def _serving(folder: Path) -> list[int]:
    """Return the processes that complain to a log in `folder`: all that the plugin starts do."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if folder in _log_of(entry).parents]


DEFAULT_CHAIN = """
import jwt
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

def test_the_chain_of_credentials(wisp_environment, wisp_identity):
    with DefaultAzureCredential() as credential:
        token = credential.get_token("https://vault.azure.net/.default").token
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["appid"] == wisp_identity.client_id
    assert claims["oid"] == wisp_identity.object_id
    assert claims["xms_mirid"] == wisp_identity.resource_id

def test_by_client_id(wisp_environment, wisp_identity):
    with ManagedIdentityCredential(client_id=wisp_identity.client_id) as credential:
        assert credential.get_token("https://vault.azure.net/.default").token
"""


@pytest.mark.system
def test_default_credential_gets_the_token_of_the_identity(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    pytester.makepyfile(DEFAULT_CHAIN)
    pytester.runpytest_subprocess(*STRICT).assert_outcomes(passed=2)
    wait_until(lambda: _serving(pytester.path) == [])


FAULTS = """
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential

SCOPE = "https://vault.azure.net/.default"

@pytest.mark.parametrize("fault, code", [
    ("misspell_subject", "AADSTS700213"),
    ("misspell_issuer", "AADSTS700211"),
    ("forget_credential", "AADSTS70025"),
    ("delete", "AADSTS700016"),
])
def test_entra_refuses_until_mended(wisp_environment, wisp_identity, fault, code):
    getattr(wisp_identity, fault)()
    with ManagedIdentityCredential() as credential, pytest.raises(ClientAuthenticationError, match=code):
        credential.get_token(SCOPE)
    wisp_identity.repair()
    with ManagedIdentityCredential() as credential:
        assert credential.get_token(SCOPE).token

def test_identity_not_found(wisp_environment, wisp_cloud):
    other = wisp_cloud.identity()
    with ManagedIdentityCredential(client_id=other.client_id) as credential:
        with pytest.raises((ClientAuthenticationError, CredentialUnavailableError)):
            credential.get_token(SCOPE)
"""


@pytest.mark.system
def test_sdk_reports_the_code_of_entra_for_each_fault(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAULTS)
    pytester.runpytest_subprocess("-n", "2", *STRICT).assert_outcomes(passed=5)


SEEDED = """
import pathlib, pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential, WorkloadIdentityCredential
from wisp_local.testing import serving_imds

@pytest.fixture(scope="session")
def wisp_seed():
    return pathlib.Path(__file__).with_name("cloud.yaml")

def test_seeded(wisp_cloud, tmp_path):
    assert wisp_cloud.tenant_id == "11111111-1111-4111-8111-111111111111"
    app = wisp_cloud.identity("app", group="demo")
    assert app.client_id == "33333333-3333-4333-8333-333333333333"
    token_file = tmp_path / "token"
    token_file.write_text(wisp_cloud.assertion(app).reveal())
    with WorkloadIdentityCredential(
        tenant_id=wisp_cloud.tenant_id, client_id=app.client_id, token_file_path=str(token_file),
        authority=wisp_cloud.url, disable_instance_discovery=True, connection_verify=str(wisp_cloud.ca_file),
    ) as credential:
        assert credential.get_token("api://my-api/.default").token

def test_entra_out_of_reach(wisp_cloud, wisp_identity, tmp_path, monkeypatch):
    with serving_imds(wisp_cloud, wisp_identity, tmp_path, authority_host="https://127.0.0.1:1/") as imds:
        for name, value in imds.environment.items():
            monkeypatch.setenv(name, value)
        with ManagedIdentityCredential(retry_total=0) as credential, pytest.raises(ClientAuthenticationError) as caught:
            credential.get_token("https://vault.azure.net/.default")
    assert "127.0.0.1:1" in str(caught.value)
    assert "eyJ" not in repr(imds) + repr(wisp_cloud) + repr(wisp_identity)
"""


@pytest.mark.system
def test_seeded_cloud_and_unreachable_cloud(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SEEDED)
    pytester.makefile(
        ".yaml",
        cloud="""
            tenant: {id: 11111111-1111-4111-8111-111111111111}
            identities: [{name: app, resourceGroup: demo, clientId: 33333333-3333-4333-8333-333333333333}]
            resources: ["api://my-api"]
        """,
    )
    pytester.runpytest_subprocess(*STRICT).assert_outcomes(passed=2)


WRONG_SEED = """
import pytest

@pytest.fixture(scope="session")
def wisp_seed(tmp_path_factory):
    seed = tmp_path_factory.mktemp("seed") / "cloud.yaml"
    seed.write_text("identitys: []")
    return seed

def test_it(wisp_cloud):
    pass
"""


@pytest.mark.system
def test_reason_why_the_cloud_did_not_start_is_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WRONG_SEED)
    result = pytester.runpytest_subprocess(*STRICT)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*the local cloud did not start*", "*unknown key 'identitys'*", "*hint: did you mean 'identities'?*"]
    )
    wait_until(lambda: _serving(pytester.path) == [])


WORKERS = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(6))
def test_cloud(wisp_cloud, number):
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(f"{os.environ['PYTEST_XDIST_WORKER']} {wisp_cloud.url}\\n")
"""


@pytest.mark.system
def test_each_worker_has_a_cloud_of_its_own(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("SEEN", str(seen))
    pytester.makepyfile(WORKERS)
    pytester.runpytest_subprocess("-n", "2", *STRICT).assert_outcomes(passed=6)
    clouds = {tuple(line.split()) for line in seen.read_text().splitlines()}
    assert len(clouds) == len({worker for worker, _ in clouds}) == len({url for _, url in clouds}) == 2
    wait_until(lambda: _serving(pytester.path) == [])


@pytest.mark.system
def test_failing_test_leaves_no_process(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(wisp_environment):\n    assert False\n")
    pytester.runpytest_subprocess(*STRICT).assert_outcomes(failed=1)
    wait_until(lambda: _serving(pytester.path) == [])


HANGING = """
import pathlib, time

def test_it(wisp_environment, wisp_cloud):
    pathlib.Path("ready").touch()
    time.sleep(600)
"""


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_interrupted_run_leaves_no_process(pytester: pytest.Pytester, number: signal.Signals) -> None:
    pytester.makepyfile(HANGING)
    heard = ("env", "--default-signal=INT")  # what a shell runs in the background ignores Ctrl-C, and so its children
    command = [*heard, sys.executable, "-m", "pytest", "-q", *STRICT, "--basetemp", str(pytester.path / "tmp")]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            wait_until((pytester.path / "ready").exists)
            assert len(_serving(pytester.path / "tmp")) >= 2
            run.send_signal(number)
            run.wait(PATIENCE)
        finally:
            run.kill()
    wait_until(lambda: _serving(pytester.path / "tmp") == [])
