"""The chart rendered by Helm: golden files, invalid values, and the plain manifest."""

from pathlib import Path

import pytest

from tests.chart.cases import CASES, CHART, GOLDEN, NAMESPACE, TENANT, rendered, run, template
from tests.chart.manifest import MANIFESTS, manifest
from tests.chart.objects import MOUNTED_CA, PEM, container, objects, one, pod_spec, policy
from wisp.cli.webhook import serve

pytestmark = pytest.mark.chart

REFUSED = {
    "no tenant": ([], "/azureTenantID"),
    "tenant that is not a GUID": (["azureTenantID=contoso"], "/azureTenantID"),
    "unknown value": (["replicas=3"], "'replicas' not allowed"),
    "unknown nested value": (["image.tag=v1"], "'tag' not allowed"),
    "no replica": (["replicaCount=0"], "/replicaCount"),
    "unknown cloud": (["azureEnvironment=AzureMoonCloud"], 'azureEnvironment is "AzureMoonCloud"'),
    "authority without TLS": (["authorityHost=http://login.example/"], "/authorityHost"),
    "authority that is not PEM": (["authorityCA=/etc/ca.pem"], "/authorityCA"),
    "unknown failure policy": (["mutatingWebhookFailurePolicy=Maybe"], "/mutatingWebhookFailurePolicy"),
    "time-out too long": (["mutatingWebhookTimeoutSeconds=31"], "/mutatingWebhookTimeoutSeconds"),
    "invalid port": (["service.targetPort=70000"], "/service/targetPort"),
    "invalid quantity": (["proxy.resources.limits.memory=much"], "/proxy/resources/limits/memory"),
    "custom endpoint without audience": (["customTokenEndpoint.annotationSuffix=a"], "/customTokenEndpoint/audience"),
    "custom endpoint without suffix": (["customTokenEndpoint.audience=a"], "/customTokenEndpoint/audience"),
    "label of injected pods on the webhook itself": (
        [r"podLabels.azure\.workload\.identity/use=yes"],
        "podLabels has azure.workload.identity/use",
    ),
    "negative quantity": (["proxy.resources.requests.cpu=-1"], "/proxy/resources/requests/cpu"),
    "invalid suffix": (
        ["customTokenEndpoint.annotationSuffix=a b", "customTokenEndpoint.audience=a"],
        "/customTokenEndpoint/annotationSuffix",
    ),
    "custom audience that is the default": (
        ["customTokenEndpoint.annotationSuffix=a", "customTokenEndpoint.audience=api://AzureADTokenExchange"],
        "/customTokenEndpoint/audience",
    ),
    "invalid port of metrics": (["metricsAddr=:65536"], "/metricsAddr"),
    "invalid name": (["fullnameOverride=Wisp"], "/fullnameOverride"),
    "invalid image": (["proxy.image=a b"], "/proxy/image"),
    "path that cannot be passed on": (["proxy.passthrough={identity}"], "/proxy/passthrough"),
    "invalid port of the API server": (["networkPolicy.apiServerPorts[0]=0"], "/networkPolicy/apiServerPorts/0"),
    "client CA that is not PEM": (["clientCA=/etc/ca.pem"], "/clientCA"),
    "negative connections": (["connectionsPerSource=-1"], "/connectionsPerSource"),
    "policy that is neither enabled nor disabled": (["admissionPolicy.enabled=maybe"], "/admissionPolicy/enabled"),
    "source that is not a peer": (["networkPolicy.from[0].cidr=10.0.0.0/8"], "/networkPolicy/from/0"),
    "empty source": (["networkPolicy.from[0]="], "/networkPolicy/from/0"),
    "unknown value of the gateway": (["gateway.port=1"], "'port' not allowed"),
    "gateway without replicas": (["gateway.replicaCount=0"], "/gateway/replicaCount"),
    "gateway for a tenant that is not a GUID": (["gateway.tenants={contoso}"], "/gateway/tenants/0"),
    "invalid suffix of the gateway": (["gateway.annotationSuffix=a b"], "/gateway/annotationSuffix"),
    "negative time of the gateway": (["gateway.grantSeconds=-1"], "/gateway/grantSeconds"),
    "fraction of a request": (["gateway.requests=1.5"], "/gateway/requests"),
    "source of the gateway that is not a peer": (
        ["gateway.networkPolicy.from[0].cidr=10.0.0.0/8"],
        "/gateway/networkPolicy/from/0",
    ),
    "gateway and a custom token endpoint": (
        [
            "gateway.enabled=true",
            "customTokenEndpoint.url=https://binding.example/",
            "customTokenEndpoint.caTrustBundle.signerName=example.com/ca",
        ],
        "so is customTokenEndpoint.url, customTokenEndpoint.caTrustBundle.signerName: remove one or the other",
    ),
    "gateway and a variable of a custom token endpoint": (
        ["gateway.enabled=true", "extraEnv[0].name=AZURE_KUBERNETES_TOKEN_PROXY", "extraEnv[0].value=https://a/"],
        "so is AZURE_KUBERNETES_TOKEN_PROXY in extraEnv: remove one or the other",
    ),
    "gateway with the audience of tokens for Entra": (
        ["gateway.enabled=true", "gateway.audience=api://other", "audience=api://other"],
        'gateway.audience is "api://other", which is the audience of tokens for Entra',
    ),
    "label of injected pods on the gateway": (
        ["gateway.enabled=true", r"gateway.podLabels.azure\.workload\.identity/use=yes"],
        "gateway.podLabels has azure.workload.identity/use",
    ),
    "gateway in a cloud that the chart cannot know": (
        ["gateway.enabled=true", "extraEnv[0].name=AZURE_ENVIRONMENT", "extraEnv[0].valueFrom.configMapKeyRef.name=a"],
        "set azureEnvironment",
    ),
    "variable of a gateway that is not there": (
        ["extraEnv[0].name=WISP_TOKENS_SHUTDOWN_DELAY", "extraEnv[0].value=1"],
        "extraEnv has WISP_TOKENS_SHUTDOWN_DELAY, which would have no effect",
    ),
    "variable for which the gateway has a value": (
        ["gateway.enabled=true", "extraEnv[0].name=WISP_TOKENS_AUDIENCE", "extraEnv[0].value=a"],
        "extraEnv has WISP_TOKENS_AUDIENCE, which would have no effect",
    ),
    "unsupported metrics backend": (["metricsBackend=statsd"], 'metricsBackend is "statsd"'),
}


@pytest.mark.parametrize("gateway", ["false", "true"])
def test_helm_lint_reports_nothing(gateway: str) -> None:
    """Warnings count."""
    done = run("lint", "--strict", str(CHART), "--set", f"azureTenantID={TENANT},gateway.enabled={gateway}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_rendered_chart_matches_the_golden_file(case: str) -> None:
    """`make manifest` writes the golden files."""
    assert rendered(case) == (GOLDEN / f"{case}.yaml").read_text()


@pytest.mark.parametrize("settings, where", REFUSED.values(), ids=REFUSED.keys())
def test_invalid_value_is_rejected_by_name(settings: list[str], where: str) -> None:
    tenant = [] if where == "/azureTenantID" else ["--set", f"azureTenantID={TENANT}"]
    done = template(*tenant, *(word for setting in settings for word in ("--set", setting)))
    assert done.returncode == 1, done.stdout
    assert where in done.stderr


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_plain_manifest_is_the_rendered_chart(path: Path) -> None:
    """`make manifest` writes the files in deploy/."""
    assert manifest(*MANIFESTS[path]) == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_webhook_accepts_the_arguments_of_the_chart(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy is made from them."""
    (tmp_path / "ca.crt").write_text(PEM)
    first, *arguments = (
        MOUNTED_CA.sub(f"{tmp_path}/ca.crt", argument) for argument in container(rendered(case))["args"]
    )
    assert first == "webhook"
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)  # one case has it in the container's variables
    serve.make_context("webhook", list(arguments))
    assert policy(rendered(case), tmp_path).tenant_id == TENANT


@pytest.mark.parametrize("level, expected", [("all", "debug"), ("trace", "debug"), ("", "warning"), ("error", "error")])
def test_log_levels_of_azure_workload_identity_are_translated(level: str, expected: str) -> None:
    done = template("--set", f"azureTenantID={TENANT}", "--set-string", f"logLevel={level}")
    assert f"--log-level={expected}" in container(done.stdout)["args"]


@pytest.mark.parametrize(
    "setting, argument",
    [
        ('proxy.passthrough=["instance","versions"]', "instance,versions"),
        ('proxy.passthrough="instance,scheduledevents-acknowledge"', "instance,scheduledevents-acknowledge"),
        ("proxy.passthrough=[]", "none"),
        ('proxy.passthrough="none"', "none"),
        ("proxy.passthrough=null", None),
        ("proxy=null", None),
    ],
)
def test_passthrough_is_a_list_or_text_with_commas(setting: str, argument: str | None) -> None:
    """Without the value, the webhook's own default applies."""
    done = template("--set", f"azureTenantID={TENANT}", "--set-json", setting)
    arguments = [flag for flag in container(done.stdout)["args"] if flag.startswith("--proxy-passthrough")]
    assert arguments == ([] if argument is None else [f"--proxy-passthrough={argument}"])


@pytest.mark.parametrize("case", CASES)
def test_chart_contains_neither_ca_bundle_nor_certificates(case: str) -> None:
    """An upgrade therefore keeps those that the webhook wrote."""
    text = rendered(case)
    (webhook,) = one(text, "MutatingWebhookConfiguration")["webhooks"]
    assert set(webhook["clientConfig"]) == {"service"}
    assert all(
        set(document) == {"apiVersion", "kind", "metadata", "type"}
        for document in objects(text)
        if document["kind"] == "Secret"
    )


@pytest.mark.parametrize("case", CASES)
def test_webhook_pods_do_not_match_the_object_selector(case: str) -> None:
    """So they start even while the webhook is down."""
    text = rendered(case)
    (webhook,) = one(text, "MutatingWebhookConfiguration")["webhooks"]
    assert webhook["objectSelector"] == {"matchLabels": {"azure.workload.identity/use": "true"}}
    assert "azure.workload.identity/use" not in one(text, "Deployment")["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("case", CASES)
def test_names_in_arguments_are_those_of_the_objects(case: str) -> None:
    text = rendered(case)
    options = dict(
        argument[2:].split("=", 1)
        for argument in container(text)["args"]
        if argument.startswith("--") and "=" in argument
    )
    (webhook,) = one(text, "MutatingWebhookConfiguration")["webhooks"]
    service = one(text, "Service")
    assert options["service-name"] == service["metadata"]["name"] == webhook["clientConfig"]["service"]["name"]
    assert webhook["clientConfig"]["service"]["port"] == service["spec"]["ports"][0]["port"]
    assert (
        service["spec"]["selector"].items() <= one(text, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    )
    if "certificate-dir" not in options:
        assert options["webhook-configuration"] == one(text, "MutatingWebhookConfiguration")["metadata"]["name"]
        assert options["certificate-secret"] == one(text, "Secret")["metadata"]["name"]


def test_webhook_has_only_the_permissions_it_needs() -> None:
    """It reads service accounts and updates two named objects."""
    text = rendered("defaults")
    rules = [
        rule for document in objects(text) if document["kind"] in {"Role", "ClusterRole"} for rule in document["rules"]
    ]
    assert {(rule["resources"][0], *rule.get("resourceNames", ["*"]), *sorted(rule["verbs"])) for rule in rules} == {
        ("serviceaccounts", "*", "get", "list", "watch"),
        ("mutatingwebhookconfigurations", "wisp", "get", "list", "patch", "watch"),
        ("secrets", "wisp-tls", "get", "list", "update", "watch"),
    }


def test_webhook_only_reads_service_accounts_with_cert_manager() -> None:
    text = rendered("cert-manager")
    rules = [
        rule for document in objects(text) if document["kind"] in {"Role", "ClusterRole"} for rule in document["rules"]
    ]
    assert [rule["resources"] for rule in rules] == [["serviceaccounts"]]


def test_allowed_sources_do_not_restrict_probes() -> None:
    """Probes come from nodes, which networkPolicy.from need not contain."""
    reviews, metrics = one(rendered("clients"), "NetworkPolicy")["spec"]["ingress"]
    assert reviews["ports"] == [{"port": "webhook"}]
    assert reviews["from"][0] == {"ipBlock": {"cidr": "10.0.0.4/32"}}
    assert metrics == {"ports": [{"port": "metrics"}]}


def test_client_ca_is_mounted_at_the_path_of_the_argument() -> None:
    """It comes from a ConfigMap of the chart; changing it replaces the pods."""
    text = rendered("clients")
    (volume,) = pod_spec(text)["volumes"]
    (mount,) = container(text)["volumeMounts"]
    config = one(text, "ConfigMap")
    assert volume == {"name": mount["name"], "configMap": {"name": config["metadata"]["name"]}}
    assert f"--client-ca={mount['mountPath']}/{next(iter(config['data']))}" in container(text)["args"]
    assert "checksum/client-ca" in one(text, "Deployment")["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize(
    "connections, argument",
    [("null", []), ("0", ["--connections-per-source=0"]), ("1000000", ["--connections-per-source=1000000"])],
)
def test_connections_per_source_is_an_argument_if_set(connections: str, argument: list[str]) -> None:
    """Without a value, the webhook's own default applies; 0 is a value."""
    done = template("--set", f"azureTenantID={TENANT},connectionsPerSource={connections}")
    assert [flag for flag in container(done.stdout)["args"] if "connections" in flag] == argument


@pytest.mark.parametrize(
    "arguments, is_there",
    [
        ([], True),
        (["--kube-version=1.30.0-gke.1"], True),
        (["--kube-version=1.29.9"], False),
        (["--kube-version=1.29.9", "--api-versions=admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"], True),
        (["--kube-version=1.29.9", "--set=admissionPolicy.enabled=true"], True),
        (["--set-string=admissionPolicy.enabled=false"], False),
        (["--set=admissionPolicy=null"], True),
        (["--set=certManager.enabled=true"], False),
    ],
    ids=lambda value: " ".join(value) or "default" if isinstance(value, list) else "",
)
def test_admission_policy_is_rendered_where_the_api_server_has_it(arguments: list[str], *, is_there: bool) -> None:
    """A value overrides the detection. There is no policy with cert-manager."""
    done = template("--set", f"azureTenantID={TENANT}", *arguments)
    assert done.returncode == 0, done.stderr
    kinds = [document["kind"] for document in objects(done.stdout)]
    assert kinds.count("ValidatingAdmissionPolicy") == kinds.count("ValidatingAdmissionPolicyBinding") == is_there


def test_admission_policy_applies_to_the_service_account_of_the_webhook() -> None:
    text = rendered("everything")
    policy = one(text, "ValidatingAdmissionPolicy")
    (condition,) = policy["spec"]["matchConditions"]
    account = f"system:serviceaccount:{NAMESPACE}:{pod_spec(text)['serviceAccountName']}"
    assert condition["expression"] == f'request.userInfo.username == "{account}"'
    binding = one(text, "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
