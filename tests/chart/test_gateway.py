"""The chart with the token gateway: its objects, what it has in common with the webhook, and its permissions."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.cases import CHART, NAMESPACE, TENANT, rendered, run, template
from tests.chart.objects import PEM, component, container, objects, one, pod_spec
from wisp.azure import CLOUD_ALIASES, CLOUDS, cloud_named
from wisp.cli.gateway import command, serve
from wisp.gateway.tokens import gateway_settings
from wisp.gateway.types import AUDIENCE

pytestmark = pytest.mark.chart

GATEWAY_CASES = ("gateway", "gateway-defaults", "gateway-cert-manager")
TOKEN_FOLDER = "/var/run/secrets/azure/wi/token"
OWN = "gateway"


def options(text: str, of: str) -> dict[str, str]:
    """Return the options of a component's container, without those that are repeated."""
    arguments = container(text, of)["args"][1:]
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument)


def variables(text: str, of: str = OWN) -> dict[str, str]:
    """Return the variables of a component's container that have a value."""
    return {variable["name"]: variable["value"] for variable in container(text, of)["env"] if "value" in variable}


def named(text: str, kind: str, of: str) -> dict[str, Any]:
    """Return the specs of a component's objects of one kind, by their names."""
    found = (document for document in objects(text) if document["kind"] == kind and component(document) == of)
    return {document["metadata"]["name"]: document["spec"] for document in found}


def with_gateway(*settings: str) -> str:
    """Render the chart with the gateway and further settings."""
    values = ",".join((f"azureTenantID={TENANT}", "gateway.enabled=true", *settings))
    done = template("--set", values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_chart_without_the_gateway_has_no_object_of_it() -> None:
    """Nor does the webhook know of one."""
    text = rendered("defaults")
    assert not [document for document in objects(text) if component(document) == OWN]
    assert "gateway" not in str(pod_spec(text))


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_objects_of_the_gateway_have_names_of_their_own(case: str) -> None:
    """Selectors and names of the webhook are the same with and without it."""
    text = rendered(case)
    names = [(document["kind"], document["metadata"]["name"]) for document in objects(text)]
    assert len(names) == len(set(names))
    assert all("-gateway" in document["metadata"]["name"] for document in objects(text) if component(document) == OWN)
    selector = one(text, "Deployment", OWN)["spec"]["selector"]["matchLabels"]
    assert selector.items() <= one(text, "Deployment", OWN)["spec"]["template"]["metadata"]["labels"].items()
    assert not selector.items() <= one(text, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert one(text, "Service", OWN)["spec"]["selector"] == selector
    assert one(text, "PodDisruptionBudget", OWN)["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector},
    }


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_gateway_is_confined_like_the_webhook(case: str) -> None:
    """And probed alike."""
    text = rendered(case)
    ours, reference = pod_spec(text, OWN), pod_spec(text)
    for name in ("securityContext", "imagePullSecrets", "priorityClassName"):
        assert ours.get(name) == reference.get(name)
    ours, reference = container(text, OWN), container(text)
    for name in ("image", "imagePullPolicy", "securityContext", "startupProbe", "livenessProbe", "readinessProbe"):
        assert ours[name] == reference[name]


def test_gateway_is_scheduled_like_the_webhook_unless_it_has_settings_of_its_own() -> None:
    """Its pods are spread by themselves."""
    ours, inherited = pod_spec(rendered("gateway"), OWN), pod_spec(rendered("gateway-cert-manager"), OWN)
    assert ours["nodeSelector"] == {"disk": "fast"}
    assert inherited["nodeSelector"] == {"kubernetes.io/os": "linux", "disk": "slow"}
    (spread,) = inherited["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == OWN
    metadata = one(rendered("gateway-cert-manager"), "Deployment", OWN)["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "identity"
    assert metadata["annotations"]["note"] == "1"
    assert one(rendered("gateway"), "Deployment", OWN)["spec"]["template"]["metadata"]["annotations"] == {"note": "2"}


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_pods_of_the_gateway_do_not_wait_for_the_webhook(case: str) -> None:
    """They have no label by which it is asked."""
    labels = one(rendered(case), "Deployment", OWN)["spec"]["template"]["metadata"]["labels"]
    assert "azure.workload.identity/use" not in labels


def test_gateway_has_only_the_permissions_it_needs() -> None:
    """Two kinds of review, and its certificate."""
    documents = [document for document in objects(rendered("gateway-defaults")) if component(document) == OWN]
    rules = [rule for document in documents if "Role" in document["kind"] for rule in document.get("rules", ())]
    assert rules == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["wisp-gateway-tls"],
            "verbs": ["get", "list", "watch", "update"],
        },
    ]
    subjects = [document["subjects"] for document in documents if document["kind"].endswith("Binding")]
    assert subjects == 2 * [[{"kind": "ServiceAccount", "name": "wisp-gateway", "namespace": NAMESPACE}]]


def test_gateway_reads_no_secret_with_cert_manager() -> None:
    """It has its certificate as files."""
    text = rendered("gateway-cert-manager")
    assert not [document for document in objects(text) if document["kind"] in {"Role", "Secret"}]
    assert options(text, OWN)["certificate-dir"] == "/certificates"
    assert "certificate-secret" not in options(text, OWN)
    (volume,) = (volume for volume in pod_spec(text, OWN)["volumes"] if volume["name"] == "certificates")
    assert volume["secret"]["secretName"] == "identity-gateway-tls"


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_webhook_sends_pods_to_the_gateway(case: str) -> None:
    """The address is a name in the gateway's certificate, and the audience is the one that the gateway requires."""
    text = rendered(case)
    webhook, gateway = options(text, "webhook"), options(text, OWN)
    service = one(text, "Service", OWN)
    assert webhook["custom-token-endpoint"] == f"https://{service['metadata']['name']}.{NAMESPACE}.svc"
    assert webhook["custom-token-endpoint-audience"] == gateway["audience"]
    assert gateway["service-name"] == service["metadata"]["name"]
    (port,) = service["spec"]["ports"]
    assert port == {"name": OWN, "port": 443, "targetPort": OWN}
    ports = {port["name"]: str(port["containerPort"]) for port in container(text, OWN)["ports"]}
    assert ports == {OWN: gateway["port"], "metrics": gateway["health-port"]}
    if "certificate-secret" not in gateway:
        assert named(text, "Certificate", OWN)[service["metadata"]["name"]]["dnsNames"] == [
            f"{gateway['service-name']}.{NAMESPACE}.svc"
        ]


def test_default_endpoint_is_that_of_identity_bindings_on_aks() -> None:
    """SDKs and pods of such clusters need no change."""
    webhook = options(rendered("gateway-defaults"), "webhook")
    assert webhook["custom-token-endpoint-annotation-suffix"] == "identity-binding"
    assert webhook["custom-token-endpoint-audience"] == AUDIENCE


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_webhook_sees_the_gateways_ca_but_not_its_keys(case: str) -> None:
    """Its pods start before the gateway has issued the CA."""
    text = rendered(case)
    (volume,) = (volume for volume in pod_spec(text)["volumes"] if volume["name"] == "gateway-ca")
    name = one(text, "Service", OWN)["metadata"]["name"]
    assert volume["secret"] == {
        "secretName": f"{name}-tls",
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
        "optional": True,
        "defaultMode": 0o440,
    }
    (mount,) = (mount for mount in container(text)["volumeMounts"] if mount["name"] == "gateway-ca")
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # or the file would never change
    assert options(text, "webhook")["custom-token-endpoint-ca"] == f"{mount['mountPath']}/ca.crt"


def test_ca_by_cert_manager_keeps_its_key() -> None:
    """Pods know the CA since they were created: a renewed certificate must be trusted by them."""
    text = rendered("gateway-cert-manager")
    certificates, issuers = named(text, "Certificate", OWN), named(text, "Issuer", OWN)
    authority, certificate = certificates["identity-gateway-ca"], certificates["identity-gateway"]
    assert (authority["isCA"], authority["privateKey"]["rotationPolicy"]) == (True, "Never")
    assert issuers[authority["issuerRef"]["name"]] == {"selfSigned": {}}
    assert issuers[certificate["issuerRef"]["name"]] == {"ca": {"secretName": authority["secretName"]}}


def test_company_issuer_issues_the_gateways_certificate() -> None:
    """Without a CA of the chart."""
    text = with_gateway("certManager.enabled=true", "certManager.issuerRef.name=company")
    assert one(text, "Certificate", OWN)["spec"]["issuerRef"] == {"name": "company"}
    assert "kind: Issuer" not in text


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_gateway_has_a_token_of_its_own_for_entra(case: str) -> None:
    """For the audience of pods' tokens in that cloud, and of its own service account."""
    text = rendered(case)
    (volume,) = (volume for volume in pod_spec(text, OWN)["volumes"] if volume["name"] == "azure-identity-token")
    (source,) = volume["projected"]["sources"]
    expected = options(text, "webhook").get("audience", "api://AzureADTokenExchange")
    assert source["serviceAccountToken"] == {
        "audience": expected,
        "expirationSeconds": 3600,
        "path": "azure-identity-token",
    }
    assert {"name": volume["name"], "mountPath": TOKEN_FOLDER, "readOnly": True} in container(text, OWN)["volumeMounts"]
    assert variables(text)["AZURE_FEDERATED_TOKEN_FILE"] == f"{TOKEN_FOLDER}/azure-identity-token"
    name = pod_spec(text, OWN)["serviceAccountName"]
    assert name == one(text, "ServiceAccount", OWN)["metadata"]["name"]
    assert "automountServiceAccountToken" not in pod_spec(text, OWN)  # reviews need the token for the API server


@pytest.mark.parametrize("name", [*(cloud.name for cloud in CLOUDS), *CLOUD_ALIASES])
def test_gateway_asks_the_authority_of_the_cloud(name: str) -> None:
    """By azureEnvironment or by the variable, which takes precedence."""
    cloud = cloud_named(name)
    assert cloud is not None
    assert variables(with_gateway(f"azureEnvironment={name}"))["AZURE_AUTHORITY_HOST"] == cloud.authorities[0]
    other = ("azureEnvironment=AzureGermanCloud", "extraEnv[0].name=AZURE_ENVIRONMENT", f"extraEnv[0].value={name}")
    assert variables(with_gateway(*other))["AZURE_AUTHORITY_HOST"] == cloud.authorities[0]


def test_gateway_asks_a_configured_authority_and_trusts_its_ca() -> None:
    """As sidecars do. Changing the CA replaces the pods."""
    text = rendered("gateway-cert-manager")
    assert variables(text)["AZURE_AUTHORITY_HOST"] == "https://login.example/"
    assert options(text, OWN)["authority-ca"] == "/authority/ca.crt"
    assert {"name": "authority", "mountPath": "/authority", "readOnly": True} in container(text, OWN)["volumeMounts"]
    assert one(text, "ConfigMap")["data"]["ca.crt"] == PEM
    annotations = one(text, "Deployment", OWN)["spec"]["template"]["metadata"]["annotations"]
    assert "checksum/authority" in annotations


@pytest.mark.parametrize(
    "name, value", [("AZURE_TENANT_ID", "contoso.onmicrosoft.com"), ("AZURE_AUTHORITY_HOST", "https://other.example/")]
)
def test_variable_takes_precedence_for_the_gateway_too(name: str, value: str) -> None:
    """It is there once."""
    text = with_gateway(f"extraEnv[0].name={name}", f"extraEnv[0].value={value}", "authorityHost=https://a.example/")
    assert [variable for variable in container(text, OWN)["env"] if variable["name"] == name] == [
        {"name": name, "value": value}
    ]


def test_empty_variable_does_not_replace_a_value() -> None:
    """As for the webhook, where the value is an argument."""
    text = with_gateway("extraEnv[0].name=AZURE_TENANT_ID", "extraEnv[0].value=")
    assert [variable for variable in container(text, OWN)["env"] if variable["name"] == "AZURE_TENANT_ID"] == [
        {"name": "AZURE_TENANT_ID", "value": TENANT}
    ]


def test_webhook_and_gateway_have_their_own_variables() -> None:
    """Those of the other one's options would have no effect."""
    text = rendered("gateway")
    assert variables(text)["WISP_TOKENS_SHUTDOWN_DELAY"] == "4"
    assert "WISP_ADMISSION_SHUTDOWN_DELAY" not in variables(text)
    assert variables(text, "webhook") == {"WISP_ADMISSION_SHUTDOWN_DELAY": "3"}
    assert variables(rendered("gateway-cert-manager"))["HTTPS_PROXY"] == "http://proxy.example:3128"


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("gateway.grantSeconds=0", "--grant-seconds=0"),
        ("gateway.denialSeconds=0.5", "--denial-seconds=0.5"),
        ("gateway.callerRate=2.5", "--caller-rate=2.5"),
        ("gateway.callerRequests=0", "--caller-requests=0"),
        ("gateway.requests=1000000", "--requests=1000000"),
        ("gateway.logLevel=trace", "--log-level=debug"),
        ("logLevel=error", "--log-level=error"),
    ],
)
def test_value_becomes_an_option_of_the_gateway(setting: str, expected: str) -> None:
    """0 is a value."""
    assert expected in container(with_gateway(setting), OWN)["args"]


LIMITS = ("grantSeconds", "denialSeconds", "callerRate", "callerRequests", "requests")
"""Values that are options of the gateway with the same names."""


@pytest.mark.parametrize("case", GATEWAY_CASES)
def test_gateway_accepts_the_arguments_of_the_chart(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its variables, which are those of a workload."""
    monkeypatch.setenv("AZURE_TENANT_ID", variables(rendered(case))["AZURE_TENANT_ID"])
    first, *arguments = container(rendered(case), OWN)["args"]
    assert first == command.name
    context = command.make_context("wisp", list(arguments))
    assert command.resolve_command(context, ["serve"])[0] == "serve"
    parsed = serve.make_context("serve", list(arguments)).params
    assert parsed["service_name"] == one(rendered(case), "Service", OWN)["metadata"]["name"]
    settings = gateway_settings(None, variables(rendered(case)))
    assert settings.authority == variables(rendered(case))["AZURE_AUTHORITY_HOST"]


def test_defaults_of_the_limits_are_those_of_the_command() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]
    options_by_name = {parameter.name: parameter for parameter in serve.params}
    for name in LIMITS:
        assert options_by_name[re.sub("([A-Z])", r"_\1", name).lower()].default == defaults[name]


def test_variables_that_the_chart_passes_are_options_without_a_value() -> None:
    """A misspelled name is refused by the chart."""
    prefix = "WISP_TOKENS_"
    options_of_serve = {f"{prefix}{(parameter.name or '').upper()}" for parameter in serve.params}
    done = template(f"--set=azureTenantID={TENANT},gateway.enabled=true,extraEnv[0].name={prefix}X,extraEnv[0].value=1")
    passed = {name for name in re.findall(r"WISP_TOKENS_[A-Z_]+", done.stderr) if name != f"{prefix}X"}
    assert passed
    assert passed <= options_of_serve
    set_by_chart = {f"{prefix}{name.replace('-', '_').upper()}" for name in options(rendered("gateway-defaults"), OWN)}
    assert not passed & set_by_chart


@pytest.mark.parametrize("name", LIMITS)
def test_limit_without_a_value_is_left_to_the_gateway(name: str) -> None:
    """Null removes it."""
    complete, without = (set(options(with_gateway(*more), OWN)) for more in ((), (f"gateway.{name}=null",)))
    assert len(complete - without) == 1


def test_every_tenant_is_an_option() -> None:
    """Without any, the gateway serves the cluster's own tenant."""
    arguments = container(rendered("gateway"), OWN)["args"]
    assert [argument for argument in arguments if argument.startswith("--tenant")] == [
        f"--tenant={TENANT}",
        "--tenant=contoso.onmicrosoft.com",
    ]
    text = rendered("gateway-defaults")
    assert not [argument for argument in container(text, OWN)["args"] if argument.startswith("--tenant")]
    assert variables(text)["AZURE_TENANT_ID"] == TENANT


def _ports(rule: dict[str, Any]) -> list[object]:
    return [port["port"] for port in rule["ports"]]


def test_network_policy_allows_token_requests_and_what_the_gateway_calls() -> None:
    """Probes come from nodes. The API server, Entra or a forward proxy, and DNS are called."""
    policy = one(rendered("gateway"), "NetworkPolicy", OWN)["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == OWN
    requests, metrics = policy["ingress"]
    assert requests == {"ports": [{"port": OWN}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    assert metrics == {"ports": [{"port": "metrics"}]}
    services, names = policy["egress"]
    assert (_ports(services), _ports(names)) == ([443, 6443, 3128], [53, 53])
    inside = one(with_gateway("networkPolicy.enabled=true"), "NetworkPolicy", OWN)["spec"]
    assert inside["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    assert _ports(inside["egress"][0]) == [443, 6443]


@pytest.mark.parametrize(
    "settings, is_there",
    [
        (("gateway.replicaCount=1",), False),
        (("replicaCount=1", "gateway.replicaCount=2"), True),
        (("podDisruptionBudget=null",), False),
    ],
)
def test_disruption_budget_of_the_gateway_is_by_its_replicas(settings: tuple[str, ...], *, is_there: bool) -> None:
    """A single replica has none: its node could not be drained."""
    documents = objects(with_gateway(*settings))
    budgets = [document for document in documents if document["kind"] == "PodDisruptionBudget"]
    assert (OWN in map(component, budgets)) is is_there


def test_metrics_of_both_are_monitored() -> None:
    text = rendered("gateway")
    for of in ("webhook", OWN):
        monitor = one(text, "PodMonitor", of)["spec"]
        assert monitor["selector"]["matchLabels"]["app.kubernetes.io/component"] == of
        assert [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]] == ["metrics"]


def notes(folder: Path, *settings: str) -> str:
    """Return the installation notes, rendered by a copy of the chart: `helm template` does not render notes."""
    chart = shutil.copytree(CHART, folder / "wisp")
    template = (chart / "templates/NOTES.txt").read_text()
    (chart / "templates/_notes.tpl").write_text(f'{{{{ define "notes" }}}}{template}{{{{ end }}}}')
    (chart / "templates/notes.yaml").write_text('notes: {{ include "notes" . | toJson }}\n')
    done = run("template", "wisp", str(chart), "-n", NAMESPACE, "--show-only", "templates/notes.yaml", *settings)
    assert done.returncode == 0, done.stderr
    text: str = yaml.safe_load(done.stdout)["notes"]
    return text


def test_notes_name_the_subject_of_the_federated_credential(tmp_path: Path) -> None:
    """And the command that allows a workload to use an identity."""
    tenant = f"--set=azureTenantID={TENANT}"
    gateway = notes(tmp_path / "gateway", tenant, "--set=gateway.enabled=true,fullnameOverride=identity")
    assert f"--subject system:serviceaccount:{NAMESPACE}:identity-gateway " in gateway
    assert "wisp gateway grant --client-id" in gateway
    assert "azure.workload.identity/use-identity-binding" in gateway
    assert "gateway" not in notes(tmp_path / "webhook", tenant)
