"""The walk-through's service account, pod and request in a real cluster."""

import json
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from wisp.base.secret import Secret
from wisp_local.demo.azure import Verifier
from wisp_local.demo.steps import (
    NAMESPACE,
    POD,
    RESOURCE,
    SERVICE_ACCOUNT,
    Expected,
    claim_problem,
    curl_command,
    step_named,
)

pytestmark = pytest.mark.cluster
METADATA = "http://169.254.169.254"


def test_walkthrough_gets_the_identitys_token(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """By `kubectl exec ubuntu -- curl`. It is verified with the keys that Entra publishes."""
    identity = cluster.identity("wi-demo-identity", (NAMESPACE, SERVICE_ACCOUNT))
    account = step_named("federated-credential").on_aks.partition("EOF\n")[2].partition("EOF")[0]
    pod = step_named("pod").on_aks.partition("EOF\n")[2].partition("EOF")[0]
    cluster.apply(account.replace("${USER_ASSIGNED_CLIENT_ID}", identity.client_id))
    cluster.apply(pod)
    cluster.wait_until_ready(POD, NAMESPACE)
    answer = json.loads(cluster.kubectl("exec", POD, "-n", NAMESPACE, "--", *curl_command(METADATA)))
    authority = f"{cluster.cloud.url}/{identity.tenant_id}/"
    verifier = Verifier.published(authority, Path(cluster.cloud.ca_file))
    claims = verifier.verify(Secret(answer["access_token"]), float(answer["not_before"]) + 1).claims
    promise = Expected(RESOURCE, identity.client_id, identity.principal_id, identity.tenant_id)
    assert claim_problem(claims, promise) is None
    with capsys.disabled():
        sys.stdout.write(f"\nkubectl exec {POD} -n {NAMESPACE} -- curl ...: {json.dumps(claims, indent=2)}\n")
