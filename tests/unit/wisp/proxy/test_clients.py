"""Unmodified Azure SDKs for Python against the sidecar. They know only where the metadata service is."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.authority import Authority, refuses
from tests.support.fakes import ARM, CLIENT_ID
from tests.unit.wisp.proxy.sidecar import Sidecar

pytestmark = pytest.mark.system

AZURE_IDENTITY = """
from azure.identity import ManagedIdentityCredential
try:
    token = ManagedIdentityCredential({arguments}).get_token("https://management.azure.com//.default")
    print(json.dumps({{"access_token": token.token, "expires_on": token.expires_on}}))
except Exception as error:
    print(json.dumps({{"error": str(error)}}))
"""
MSAL = """
import msal, requests
identity = msal.{identity}
with requests.Session() as session:
    client = msal.ManagedIdentityClient(identity, http_client=session)
    print(json.dumps(client.acquire_token_for_client(resource="https://management.azure.com/")))
"""


def ask(script: str, sidecar: Sidecar, **variables: str) -> dict[str, Any]:
    """Run a client that prints JSON; `variables` override where it sends its requests."""
    endpoint_variables = variables or {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{sidecar.port}"}
    environment = {"PATH": os.environ["PATH"], **endpoint_variables}
    ended = subprocess.run(
        [sys.executable, "-c", f"import json\n{script}"], env=environment, capture_output=True, text=True, check=True
    )
    printed = json.loads(ended.stdout)
    assert isinstance(printed, dict)
    return printed


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(AZURE_IDENTITY.format(arguments=""), id="azure-identity"),
        pytest.param(AZURE_IDENTITY.format(arguments=f"client_id='{CLIENT_ID}'"), id="azure-identity, client id"),
        pytest.param(MSAL.format(identity="SystemAssignedManagedIdentity()"), id="msal"),
        pytest.param(
            MSAL.format(identity=f"UserAssignedManagedIdentity(client_id='{CLIENT_ID}')"), id="msal, client id"
        ),
    ],
)
def test_sdk_gets_a_token_from_one_exchange(sidecar: Sidecar, authority: Authority, script: str) -> None:
    expected = sidecar.token(ARM).document["access_token"]
    assert ask(script, sidecar)["access_token"] == expected
    assert len(authority.posts) == 1


BOTH_CLIENTS = pytest.mark.parametrize(
    "script",
    [
        pytest.param(AZURE_IDENTITY.format(arguments=""), id="azure-identity"),
        pytest.param(MSAL.format(identity="SystemAssignedManagedIdentity()"), id="msal"),
    ],
)


@BOTH_CLIENTS
@pytest.mark.parametrize(
    "endpoint, header", [("IDENTITY_ENDPOINT", "IDENTITY_HEADER"), ("MSI_ENDPOINT", "MSI_SECRET")], ids=["2019", "2017"]
)
def test_pod_migrated_by_hand_gets_a_token(sidecar: Sidecar, script: str, endpoint: str, header: str) -> None:
    """Its variables are those of Microsoft's migration page; the sidecar has no IDENTITY_HEADER."""
    endpoint_variables = {endpoint: f"http://localhost:{sidecar.port}/metadata/identity/oauth2/token", header: "true"}
    assert ask(script, sidecar, **endpoint_variables)["access_token"] == sidecar.token(ARM).document["access_token"]


@BOTH_CLIENTS
def test_sdk_reports_entras_error_code_without_retrying(sidecar: Sidecar, authority: Authority, script: str) -> None:
    authority.behaviour = refuses(401, 700212)
    assert "AADSTS700212" in json.dumps(ask(script, sidecar))
    assert len(authority.posts) == 1
