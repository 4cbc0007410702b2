"""The chart as Helm renders it: golden files, what the schema refuses, and the plain manifest made of it."""

import re
from pathlib import Path

import pytest

from tests.chart.cases import CASES, CHART, GOLDEN, NAMESPACE, TENANT, rendered, run, template
from tests.chart.manifest import MANIFEST, manifest
from tests.chart.objects import PEM, container, objects, one, pod_spec, policy
from wisp.cli.webhook import serve

pytestmark = pytest.mark.chart

REFUSED = {
    "no tenant": ([], "/azureTenantID"),
    "tenant that is no GUID": (["azureTenantID=contoso"], "/azureTenantID"),
    "unknown value": (["replicas=3"], "'replicas' not allowed"),
    "unknown value further in": (["image.tag=v1"], "'tag' not allowed"),
    "no replica": (["replicaCount=0"], "/replicaCount"),
    "unknown cloud": (["azureEnvironment=AzureMoonCloud"], 'azureEnvironment is "AzureMoonCloud"'),
    "authority without TLS": (["authorityHost=http://login.example/"], "/authorityHost"),
    "authority that is no PEM": (["authorityCA=/etc/ca.pem"], "/authorityCA"),
    "unknown failure policy": (["mutatingWebhookFailurePolicy=Maybe"], "/mutatingWebhookFailurePolicy"),
    "time-out too long": (["mutatingWebhookTimeoutSeconds=31"], "/mutatingWebhookTimeoutSeconds"),
    "port that is none": (["service.targetPort=70000"], "/service/targetPort"),
    "quantity that is none": (["proxy.resources.limits.memory=much"], "/proxy/resources/limits/memory"),
    "custom endpoint without audience": (["customTokenEndpoint.annotationSuffix=a"], "/customTokenEndpoint/audience"),
    "custom endpoint without suffix": (["customTokenEndpoint.audience=a"], "/customTokenEndpoint/audience"),
    "pods that would wait for themselves": (
        [r"podLabels.azure\.workload\.identity/use=yes"],
        "podLabels has azure.workload.identity/use",
    ),
    "quantity below nothing": (["proxy.resources.requests.cpu=-1"], "/proxy/resources/requests/cpu"),
    "suffix that is none": (
        ["customTokenEndpoint.annotationSuffix=a b", "customTokenEndpoint.audience=a"],
        "/customTokenEndpoint/annotationSuffix",
    ),
    "custom audience that is the usual one": (
        ["customTokenEndpoint.annotationSuffix=a", "customTokenEndpoint.audience=api://AzureADTokenExchange"],
        "/customTokenEndpoint/audience",
    ),
    "metrics on no port": (["metricsAddr=:65536"], "/metricsAddr"),
    "name that is none": (["fullnameOverride=Wisp"], "/fullnameOverride"),
    "image that is none": (["proxy.image=a b"], "/proxy/image"),
    "path that cannot be passed on": (["proxy.passthrough={identity}"], "/proxy/passthrough"),
    "API server on no port": (["networkPolicy.apiServerPorts[0]=0"], "/networkPolicy/apiServerPorts/0"),
    "client CA that is no PEM": (["clientCA=/etc/ca.pem"], "/clientCA"),
    "fewer connections than none": (["connectionsPerSource=-1"], "/connectionsPerSource"),
    "policy that is neither on nor off": (["admissionPolicy.enabled=maybe"], "/admissionPolicy/enabled"),
    "source that is no peer": (["networkPolicy.from[0].cidr=10.0.0.0/8"], "/networkPolicy/from/0"),
    "source that says nothing": (["networkPolicy.from[0]="], "/networkPolicy/from/0"),
    "other metrics": (["metricsBackend=statsd"], 'metricsBackend is "statsd"'),
}


def test_lint() -> None:
    """Helm finds nothing to say, warnings included."""
    done = run("lint", "--strict", str(CHART), "--set", f"azureTenantID={TENANT}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    """What is rendered is what was looked at; `make manifest` writes it anew."""
    assert rendered(case) == (GOLDEN / f"{case}.yaml").read_text()


@pytest.mark.parametrize("settings, where", REFUSED.values(), ids=REFUSED.keys())
def test_refused(settings: list[str], where: str) -> None:
    """A value that cannot be meant is refused before anything is installed, by its name."""
    tenant = [] if where == "/azureTenantID" else ["--set", f"azureTenantID={TENANT}"]
    done = template(*tenant, *(word for setting in settings for word in ("--set", setting)))
    assert done.returncode == 1, done.stdout
    assert where in done.stderr


def test_plain_manifest() -> None:
    """deploy/wisp.yaml is the chart's own; `make manifest` writes it anew."""
    assert manifest() == MANIFEST.read_text()


@pytest.mark.parametrize("case", CASES)
def test_arguments(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command knows every argument that the chart gives it, and makes a policy of them."""
    (tmp_path / "ca.crt").write_text(PEM)
    mounted = re.compile("/(authority|client-ca)/ca.crt")
    first, *arguments = (mounted.sub(f"{tmp_path}/ca.crt", each) for each in container(rendered(case))["args"])
    assert first == "webhook"
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)  # one case has it in the container's variables
    serve.make_context("webhook", list(arguments))
    assert policy(rendered(case), tmp_path).tenant_id == TENANT


@pytest.mark.parametrize("level, told", [("all", "debug"), ("trace", "debug"), ("", "warning"), ("error", "error")])
def test_log_levels(level: str, told: str) -> None:
    """azure-workload-identity's are taken, too, and become those that the webhook knows."""
    done = template("--set", f"azureTenantID={TENANT}", "--set-string", f"logLevel={level}")
    assert f"--log-level={told}" in container(done.stdout)["args"]


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
def test_passthrough(setting: str, argument: str | None) -> None:
    """A list or text with commas; without the value, the webhook's own default counts."""
    done = template("--set", f"azureTenantID={TENANT}", "--set-json", setting)
    arguments = [each for each in container(done.stdout)["args"] if each.startswith("--proxy-passthrough")]
    assert arguments == ([] if argument is None else [f"--proxy-passthrough={argument}"])


@pytest.mark.parametrize("case", CASES)
def test_no_ca_bundle(case: str) -> None:
    """An upgrade keeps the bundle and the certificates that were put in, for the chart says nothing of either."""
    text = rendered(case)
    (webhook,) = one(text, "MutatingWebhookConfiguration")["webhooks"]
    assert set(webhook["clientConfig"]) == {"service"}
    assert all(
        set(each) == {"apiVersion", "kind", "metadata", "type"} for each in objects(text) if each["kind"] == "Secret"
    )


@pytest.mark.parametrize("case", CASES)
def test_own_pods_are_not_reviewed(case: str) -> None:
    """The webhook's own pods start whatever state it is in: no selector can match them."""
    text = rendered(case)
    (webhook,) = one(text, "MutatingWebhookConfiguration")["webhooks"]
    assert webhook["objectSelector"] == {"matchLabels": {"azure.workload.identity/use": "true"}}
    assert "azure.workload.identity/use" not in one(text, "Deployment")["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("case", CASES)
def test_names_agree(case: str) -> None:
    """Service, Secret and configuration are called what the webhook is told that they are called."""
    text = rendered(case)
    told = dict(each[2:].split("=", 1) for each in container(text)["args"] if each.startswith("--") and "=" in each)
    (webhook,) = one(text, "MutatingWebhookConfiguration")["webhooks"]
    service = one(text, "Service")
    assert told["service-name"] == service["metadata"]["name"] == webhook["clientConfig"]["service"]["name"]
    assert webhook["clientConfig"]["service"]["port"] == service["spec"]["ports"][0]["port"]
    assert (
        service["spec"]["selector"].items() <= one(text, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    )
    if "certificate-dir" not in told:
        assert told["webhook-configuration"] == one(text, "MutatingWebhookConfiguration")["metadata"]["name"]
        assert told["certificate-secret"] == one(text, "Secret")["metadata"]["name"]


def test_rights() -> None:
    """All that the webhook may do in the cluster: read service accounts, and keep what is named."""
    text = rendered("defaults")
    rules = [rule for each in objects(text) if each["kind"] in {"Role", "ClusterRole"} for rule in each["rules"]]
    assert {(rule["resources"][0], *rule.get("resourceNames", ["*"]), *sorted(rule["verbs"])) for rule in rules} == {
        ("serviceaccounts", "*", "get", "list", "watch"),
        ("mutatingwebhookconfigurations", "wisp", "get", "list", "patch", "watch"),
        ("secrets", "wisp-tls", "get", "list", "update", "watch"),
    }


def test_rights_beside_cert_manager() -> None:
    """With certificates by cert-manager it reads service accounts and no more."""
    text = rendered("cert-manager")
    rules = [rule for each in objects(text) if each["kind"] in {"Role", "ClusterRole"} for rule in each["rules"]]
    assert [rule["resources"] for rule in rules] == [["serviceaccounts"]]


def test_sources_do_not_restrict_probes() -> None:
    """networkPolicy.from is about the port of reviews alone: probes come from nodes, which are none of the peers."""
    reviews, metrics = one(rendered("clients"), "NetworkPolicy")["spec"]["ingress"]
    assert reviews["ports"] == [{"port": "webhook"}]
    assert reviews["from"][0] == {"ipBlock": {"cidr": "10.0.0.4/32"}}
    assert metrics == {"ports": [{"port": "metrics"}]}


def test_client_ca_is_mounted_where_the_webhook_looks() -> None:
    """From a ConfigMap of the chart's own; a change of it replaces the pods."""
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
def test_connections_per_source(connections: str, argument: list[str]) -> None:
    """Without a value the webhook's own default counts; 0 is a value."""
    done = template("--set", f"azureTenantID={TENANT},connectionsPerSource={connections}")
    assert [each for each in container(done.stdout)["args"] if "connections" in each] == argument


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
def test_admission_policy_is_there_where_it_can_be(arguments: list[str], *, is_there: bool) -> None:
    """By the version or the APIs of the API server, or because a value says so; never beside cert-manager."""
    done = template("--set", f"azureTenantID={TENANT}", *arguments)
    assert done.returncode == 0, done.stderr
    kinds = [each["kind"] for each in objects(done.stdout)]
    assert kinds.count("ValidatingAdmissionPolicy") == kinds.count("ValidatingAdmissionPolicyBinding") == is_there


def test_admission_policy_is_about_the_webhooks_account() -> None:
    """The one that its pods run as, and that may patch the configuration."""
    text = rendered("everything")
    policy = one(text, "ValidatingAdmissionPolicy")
    (condition,) = policy["spec"]["matchConditions"]
    account = f"system:serviceaccount:{NAMESPACE}:{pod_spec(text)['serviceAccountName']}"
    assert condition["expression"] == f'request.userInfo.username == "{account}"'
    binding = one(text, "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
