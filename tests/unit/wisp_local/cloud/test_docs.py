"""The examples in docs/reference/cloud.md, run as they stand."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.unit.wisp_local.cloud.entra.test_exchange import CASES
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, claims_of
from wisp_local.cloud.cluster import GATEWAY_SUBJECT
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential
from wisp_local.cloud.seed import apply_seed, read_seed
from wisp_local.cloud.state.store import Store

TEXT = (ROOT / "docs/reference/cloud.md").read_text()


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.system
@pytest.mark.needs("curl")
def test_documented_examples_end_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the port is changed, to a free one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    script = "set -eu\n" + _block("bash").replace("8443", port) + '\nprintf "\\n%s %s" "$TENANT_ID" "$CLIENT_ID"\n'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "-c", f"trap 'kill $(jobs -p)' EXIT\n{script}\nread -r _"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdin is not None
        answers = [json.loads(shell.stdout.readline()) for _ in range(3)]  # federate, token, curl
        tenant_id, client_id = shell.stdout.read(36 * 2 + 1).split()
        token = answers[-1]["access_token"]
        assert claims_of(token)["appid"] == client_id
        monkeypatch.chdir(tmp_path)
        names = {"tenant_id": tenant_id, "client_id": client_id}
        exec(_block("python").replace("8443", port) + "credential.close()", names)  # noqa: S102 -- our own document
        shell.stdin.write("\n")
    assert claims_of(names["token"].token)["appid"] == client_id  # type: ignore[attr-defined]  # what the example made
    assert shell.returncode == 0


def test_documentation_lists_every_tested_code() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert documented == {case[2] for case in CASES} | {900561, 7000222, 70021}


def test_documented_seed_file_federates_the_gateway(store: Store) -> None:
    """The issuer is one of the cloud's own, and the subject the gateway's."""
    apply_seed(read_seed(_block("yaml"), "cloud.md"), store, BASE_URL)
    issuer = store.issuers.named("my-cluster")
    assert store.federated_credentials(store.identity("demo", "my-app")) == [
        FederatedCredential("wisp-gateway", BASE_URL + issuer.path, GATEWAY_SUBJECT, (DEFAULT_AUDIENCE,))
    ]
