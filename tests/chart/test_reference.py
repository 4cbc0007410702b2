"""Values, variables and flags of azure-workload-identity v1.6.0 have their effect or are rejected with a reason."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.chart import reference
from tests.chart.cases import CHART, TENANT, template
from tests.chart.objects import PEM, container, one, pod_spec, policy
from tests.support.paths import ROOT
from wisp import __version__
from wisp.admission.policy import ConfigMapCA, CustomTokenEndpoint, InlineCA, Policy, Requirement, TrustBundleCA

pytestmark = [pytest.mark.chart, pytest.mark.needs("go")]

OTHER_TENANT = "0f1e2d3c-0000-4000-8000-000000000002"
SELECTOR = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}
BUNDLE = TrustBundleCA("example.com/ca", requirements=(Requirement("tier", "In", ("a", "b")),))
FREE = frozenset({"resources", "nodeSelector", "gateway.resources"})
"""Values with content of Kubernetes' types."""
BINDING = {"annotationSuffix": "binding", "audience": "api://binding"}
URL = "https://binding.example/x"
BOUND = {**BINDING, "azureKubernetesTokenProxy": URL}

Values: TypeAlias = dict[str, Any]


def rendered(folder: Path, *values: Values) -> str:
    """Render the chart with the reference's default values and these overrides."""
    files = [reference.values_file()]
    for number, overrides in enumerate(values):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(overrides))
    arguments = [word for file in files for word in ("--values", str(file))]
    done = template(*arguments, "--set", f"azureTenantID={TENANT}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(folder: Path, values: Values) -> str:
    """Return Helm's message about values that the chart rejects."""
    (folder / "values.yaml").write_text(yaml.safe_dump({"azureTenantID": TENANT, **values}))
    done = template("--values", str(folder / "values.yaml"))
    assert done.returncode != 0, done.stdout
    return done.stderr


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the path of every value that is not a group of others."""
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix + name not in FREE:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def spec_has(name: str, value: object) -> Callable[[str], bool]:
    """Return a check that the webhook's pods have a field of that value."""
    return lambda text: bool(pod_spec(text)[name] == value)


def argument(text: str) -> Callable[[str], bool]:
    """Return a check that the webhook has an argument."""
    return lambda rendered: text in container(rendered)["args"]


def endpoint_has(text: str) -> Callable[[str], bool]:
    """Return a check that the webhook has an argument about the custom token endpoint."""
    return argument(f"--custom-token-endpoint{text}")


TOLERATION = {"key": "a", "operator": "Exists"}
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
RESOURCES = {"limits": {"cpu": "1", "memory": "200Mi"}}

TAKEN: dict[str, tuple[Values, Callable[[str], bool]]] = {
    "replicaCount": ({"replicaCount": 3}, lambda text: one(text, "Deployment")["spec"]["replicas"] == 3),
    "image.repository": (
        {"image": {"repository": "registry.example/wisp", "release": ""}},
        lambda text: container(text)["image"] == f"registry.example/wisp:{__version__}",
    ),
    "image.pullPolicy": (
        {"image": {"pullPolicy": "Always"}},
        lambda text: container(text)["imagePullPolicy"] == "Always",
    ),
    "image.release": (
        {"image": {"repository": "registry.example/wisp", "release": "v9"}},
        lambda text: container(text)["image"] == "registry.example/wisp:v9",
    ),
    "imagePullSecrets": ({"imagePullSecrets": [{"name": "a"}]}, spec_has("imagePullSecrets", [{"name": "a"}])),
    "nodeSelector": (
        {"nodeSelector": {"disk": "fast"}},
        spec_has("nodeSelector", {"kubernetes.io/os": "linux", "disk": "fast"}),
    ),
    "resources": ({"resources": RESOURCES}, lambda text: container(text)["resources"]["limits"] == RESOURCES["limits"]),
    "tolerations": ({"tolerations": [TOLERATION]}, spec_has("tolerations", [TOLERATION])),
    "affinity": ({"affinity": {"podAffinity": {}}}, spec_has("affinity", {"podAffinity": {}})),
    "topologySpreadConstraints": (
        {"topologySpreadConstraints": [SPREAD]},
        spec_has("topologySpreadConstraints", [SPREAD]),
    ),
    "service.type": (
        {"service": {"type": "NodePort"}},
        lambda text: one(text, "Service")["spec"]["type"] == "NodePort",
    ),
    "service.port": (
        {"service": {"port": 8443}},
        lambda text: one(text, "Service")["spec"]["ports"][0]["port"] == 8443,
    ),
    "service.targetPort": ({"service": {"targetPort": 10443}}, argument("--port=10443")),
    "azureEnvironment": ({"azureEnvironment": "AzureChinaCloud"}, argument("--environment=AzureChinaCloud")),
    "azureTenantID": ({}, argument(f"--tenant-id={TENANT}")),
    "logLevel": ({"logLevel": "debug"}, argument("--log-level=debug")),
    "metricsAddr": ({"metricsAddr": ":8095"}, argument("--health-port=8095")),
    "metricsBackend": ({"metricsBackend": "Prometheus"}, argument("--health-port=8095")),
    "priorityClassName": ({"priorityClassName": "high"}, spec_has("priorityClassName", "high")),
    "mutatingWebhookAnnotations": (
        {"mutatingWebhookAnnotations": {"a": "b"}},
        lambda text: one(text, "MutatingWebhookConfiguration")["metadata"]["annotations"] == {"a": "b"},
    ),
    "podLabels": (
        {"podLabels": {"a": "b"}},
        lambda text: one(text, "Deployment")["spec"]["template"]["metadata"]["labels"]["a"] == "b",
    ),
    "podAnnotations": (
        {"podAnnotations": {"a": "b"}},
        lambda text: one(text, "Deployment")["spec"]["template"]["metadata"]["annotations"] == {"a": "b"},
    ),
    "mutatingWebhookNamespaceSelector": (
        {"mutatingWebhookNamespaceSelector": {"matchLabels": {"a": "b"}}},
        lambda text: (
            one(text, "MutatingWebhookConfiguration")["webhooks"][0]["namespaceSelector"] == {"matchLabels": {"a": "b"}}
        ),
    ),
    "podDisruptionBudget.minAvailable": (
        {"podDisruptionBudget": {"minAvailable": "50%"}},
        lambda text: one(text, "PodDisruptionBudget")["spec"]["minAvailable"] == "50%",
    ),
    "customTokenEndpoint.annotationSuffix": (
        {"customTokenEndpoint": {**BOUND, "annotationSuffix": "other"}},
        endpoint_has("-annotation-suffix=other"),
    ),
    "customTokenEndpoint.audience": (
        {"customTokenEndpoint": {**BOUND, "audience": "api://x"}},
        endpoint_has("-audience=api://x"),
    ),
    "customTokenEndpoint.azureKubernetesCaData": (
        {"customTokenEndpoint": {**BOUND, "azureKubernetesCaData": PEM}},
        endpoint_has(f"-ca-data={PEM}"),
    ),
    "customTokenEndpoint.azureKubernetesSniName": (
        {"customTokenEndpoint": {**BOUND, "azureKubernetesSniName": "sni"}},
        endpoint_has("-sni-name=sni"),
    ),
    "customTokenEndpoint.azureKubernetesTokenProxy": ({"customTokenEndpoint": BOUND}, endpoint_has(f"={URL}")),
    "customTokenEndpoint.azureKubernetesCAConfigMapName": (
        {"customTokenEndpoint": {**BOUND, "azureKubernetesCAConfigMapName": "ca"}},
        endpoint_has("-ca-configmap=ca"),
    ),
    "customTokenEndpoint.azureKubernetesCACTBSignerName": (
        {"customTokenEndpoint": {**BOUND, "azureKubernetesCACTBSignerName": "example.com/ca"}},
        endpoint_has("-ca-bundle-signer=example.com/ca"),
    ),
    "customTokenEndpoint.azureKubernetesCACTBLabelSelector": (
        {
            "customTokenEndpoint": {
                **BOUND,
                "azureKubernetesCACTBSignerName": "example.com/ca",
                "azureKubernetesCACTBLabelSelector": json.dumps(SELECTOR),
            }
        },
        endpoint_has(f"-ca-bundle-selector={json.dumps(SELECTOR)}"),
    ),
    "extraEnv": (
        {"extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example"}]},
        lambda text: container(text)["env"][-1] == {"name": "HTTPS_PROXY", "value": "http://proxy.example"},
    ),
    "extraVolumes": (
        {"extraVolumes": [{"name": "a", "emptyDir": {}}]},
        spec_has("volumes", [{"name": "a", "emptyDir": {}}]),
    ),
    "extraVolumeMounts": (
        {"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}]},
        lambda text: container(text)["volumeMounts"] == [{"name": "a", "mountPath": "/a"}],
    ),
}


def test_values_file_of_the_reference_renders(tmp_path: Path) -> None:
    """A tenant is added. The image, which is another program, and the memory limit are replaced."""
    text = rendered(tmp_path)
    assert container(text)["image"] == f"wisp:{__version__}"
    assert container(text)["resources"] == {
        "limits": {"cpu": "100m", "memory": "96Mi"},
        "requests": {"cpu": "100m", "memory": "20Mi"},
    }
    assert policy(text, tmp_path) == Policy(tenant_id=TENANT)


def test_every_value_of_the_reference_is_tested() -> None:
    assert set(leaves(reference.values())) == set(TAKEN)


@pytest.mark.parametrize("name", TAKEN)
def test_value_has_the_effect_it_has_in_the_reference(name: str, tmp_path: Path) -> None:
    values, has_effect = TAKEN[name]
    assert has_effect(rendered(tmp_path, values)), name


VARIABLES: dict[str, tuple[str, Callable[[Policy], object], object]] = {
    "AZURE_ENVIRONMENT": ("AzureUSGovernment", lambda it: it.authority_host, "https://login.microsoftonline.us/"),
    "AZURE_TENANT_ID": (OTHER_TENANT, lambda it: it.tenant_id, OTHER_TENANT),
    "AZURE_KUBERNETES_TOKEN_PROXY": ("https://other/", lambda it: it.token_endpoint and it.token_endpoint.url, None),
    "AZURE_KUBERNETES_SNI_NAME": ("sni.example", lambda it: it.token_endpoint and it.token_endpoint.sni_name, None),
    "AZURE_KUBERNETES_CA_DATA": (PEM, lambda it: it.token_endpoint and it.token_endpoint.ca, InlineCA(PEM)),
    "AZURE_KUBERNETES_CA_CONFIGMAP_NAME": (
        "ca",
        lambda it: it.token_endpoint and it.token_endpoint.ca,
        ConfigMapCA("ca"),
    ),
    "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME": (
        "example.com/ca",
        lambda it: it.token_endpoint and it.token_endpoint.ca,
        TrustBundleCA("example.com/ca"),
    ),
    "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR": (
        json.dumps(SELECTOR),
        lambda it: it.token_endpoint and it.token_endpoint.ca,
        BUNDLE,
    ),
}
"""Variables that the webhook reads: a value, the field of the policy that depends on it, and the expected field."""
REPLACED = {"PROXY_IMAGE": "proxy.image", "PROXY_INIT_IMAGE": "redirect.image"}
"""Variables that the chart rejects, and the value that replaces each."""


def test_every_variable_of_the_reference_is_tested() -> None:
    assert reference.variables() == {*VARIABLES, *REPLACED}


@pytest.mark.parametrize("name", VARIABLES)
def test_variable_takes_precedence_over_the_value(name: str, tmp_path: Path) -> None:
    """The variable is in extraEnv, as in the reference."""
    value, part, expected = VARIABLES[name]
    endpoint = {**BINDING, "azureKubernetesTokenProxy": URL, "azureKubernetesSniName": "value.example"}
    extra = [{"name": name, "value": value}]
    if name.endswith("LABEL_SELECTOR"):
        extra.append({"name": "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME", "value": "example.com/ca"})
    text = rendered(tmp_path, {"customTokenEndpoint": endpoint, "extraEnv": extra})
    assert part(policy(text, tmp_path)) == (value if expected is None else expected)


@pytest.mark.parametrize("name", REPLACED)
def test_variable_for_an_image_is_rejected_with_the_value_to_use(name: str, tmp_path: Path) -> None:
    """Images of the reference are other programs."""
    message = refusal(tmp_path, {"extraEnv": [{"name": name, "value": "mcr.example/proxy:v1.6.0"}]})
    assert f"extraEnv has {name}, but" in message
    assert REPLACED[name] in message


def test_every_flag_of_the_reference_is_documented() -> None:
    documented = (ROOT / "docs/how-to/install.md").read_text(encoding="utf-8")
    assert [flag for flag in sorted(reference.flags()) if f"`--{flag}`" not in documented] == []


def test_tenant_may_be_a_domain(tmp_path: Path) -> None:
    """Entra and the command accept both."""
    (tmp_path / "values.yaml").write_text("azureTenantID: contoso.onmicrosoft.com\n")
    done = template("--values", str(tmp_path / "values.yaml"))
    assert policy(done.stdout, tmp_path).tenant_id == "contoso.onmicrosoft.com"


def test_variable_from_a_config_map_replaces_the_argument(tmp_path: Path) -> None:
    """The chart does not know its value."""
    source = {"configMapKeyRef": {"name": "settings", "key": "tenant"}}
    text = rendered(tmp_path, {"extraEnv": [{"name": "AZURE_TENANT_ID", "valueFrom": source}]})
    assert not any(flag.startswith("--tenant-id") for flag in container(text)["args"])


def test_empty_variable_is_ignored(tmp_path: Path) -> None:
    text = rendered(tmp_path, {"extraEnv": [{"name": "AZURE_TENANT_ID", "value": ""}]})
    assert policy(text, tmp_path).tenant_id == TENANT


@pytest.mark.parametrize(
    "endpoint",
    [
        {**BINDING, "url": URL, "caTrustBundle": {"signerName": "example.com/ca", **SELECTOR}},
        {
            **BOUND,
            "azureKubernetesCACTBSignerName": "example.com/ca",
            "azureKubernetesCACTBLabelSelector": json.dumps(SELECTOR),
        },
    ],
    ids=["own names", "the reference's names"],
)
def test_label_selector_expressions_reach_the_policy(endpoint: Values, tmp_path: Path) -> None:
    """Either chart's names can be used."""
    endpoint_policy = policy(rendered(tmp_path, {"customTokenEndpoint": endpoint}), tmp_path).token_endpoint
    assert endpoint_policy == CustomTokenEndpoint(suffix="binding", audience="api://binding", url=URL, ca=BUNDLE)


SPELLINGS = {
    "AzureCloud": "https://login.microsoftonline.com/",
    "azurepubliccloud": "https://login.microsoftonline.com/",
    "AzureUSGovernment": "https://login.microsoftonline.us/",
    "AZUREUSGOVERNMENTCLOUD": "https://login.microsoftonline.us/",
    "AzureChinaCloud": "https://login.chinacloudapi.cn/",
    "AzureGermanCloud": "https://login.microsoftonline.de/",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_cloud_names_of_the_reference_are_accepted(name: str, tmp_path: Path) -> None:
    assert policy(rendered(tmp_path, {"azureEnvironment": name}), tmp_path).authority_host == SPELLINGS[name]


@pytest.mark.parametrize(
    "values",
    [
        {"replicaCount": "3"},
        {"revisionHistoryLimit": "3"},
        {"service": {"port": "8443", "targetPort": "9443"}},
        {"podDisruptionBudget": {"minAvailable": "1"}},
        {"resources": {"limits": {"cpu": 1, "memory": 134217728}}},
        {"mutatingWebhookTimeoutSeconds": "5"},
        {"tls": {"minVersion": 1.2}},
    ],
    ids=str,
)
def test_number_may_be_text_and_text_a_number(values: Values, tmp_path: Path) -> None:
    """`--set-string` and YAML without quotes produce both."""
    text = rendered(tmp_path, values)
    assert "e+" not in text
    policy(text, tmp_path)


@pytest.mark.parametrize(
    "budget, expected",
    [
        ({"minAvailable": 0, "maxUnavailable": 1}, {"maxUnavailable": 1}),
        ({"minAvailable": "", "maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"minAvailable": 1, "maxUnavailable": 0}, {"minAvailable": 1}),
        ({"minAvailable": 0, "maxUnavailable": None}, None),
    ],
    ids=str,
)
def test_empty_disruption_bound_is_not_rendered(budget: Values, expected: Values | None, tmp_path: Path) -> None:
    """The reference does not render 0 and empty text either."""
    text = rendered(tmp_path, {"podDisruptionBudget": budget})
    if expected is None:
        assert "PodDisruptionBudget" not in text
    else:
        spec = one(text, "PodDisruptionBudget")["spec"]
        assert {name: spec[name] for name in spec if name != "selector"} == expected


@pytest.mark.parametrize(
    "given, memory",
    [
        ("30Mi", "96Mi"),
        ("0.03Gi", "0.03Gi"),
        ("64M", "96Mi"),
        ("50000k", "96Mi"),
        (31457280, "96Mi"),
        ("96Mi", "96Mi"),
        ("128Mi", "128Mi"),
        ("200M", "200M"),
        ("1Gi", "1Gi"),
        ("1T", "1T"),
        (134217728, 134217728),
    ],
    ids=str,
)
def test_memory_limit_is_raised_to_the_minimum(given: object, memory: object, tmp_path: Path) -> None:
    text = rendered(tmp_path, {"resources": {"limits": {"memory": given}}})
    assert container(text)["resources"]["limits"]["memory"] == memory


def groups(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the path of every value, groups included."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict) and prefix + name not in FREE:
            yield from groups(value, f"{prefix}{name}.")


OWN: Values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
NULLS = sorted({*groups(OWN), *TAKEN, "podDisruptionBudget.maxUnavailable", "certManager.issuerRef.name"})


OPTIONAL = ("certManager", "gateway", "networkPolicy", "podMonitor")


@pytest.mark.parametrize("name", [name for name in NULLS if name != "azureTenantID"])
def test_null_removes_a_value_and_the_chart_still_renders(name: str, tmp_path: Path) -> None:
    """In YAML, null is a key without a value."""
    values: Any = None
    for part in reversed(name.split(".")):
        values = {part: values}
    on = [{group: {"enabled": True}} for group in OPTIONAL if name.startswith(f"{group}.")]
    policy(rendered(tmp_path, *on, values), tmp_path)


MEANINGLESS: dict[str, tuple[Values, str]] = {
    "two names of one setting": (
        {"customTokenEndpoint": {**BOUND, "url": "https://other/"}},
        "customTokenEndpoint.url and customTokenEndpoint.azureKubernetesTokenProxy are names of the same setting",
    ),
    "two sources of authorities": (
        {"customTokenEndpoint": {**BOUND, "caConfigMap": "ca", "azureKubernetesCaData": PEM}},
        "keep one of them",
    ),
    "a value and a variable for authorities": (
        {
            "customTokenEndpoint": {**BOUND, "caConfigMap": "ca"},
            "extraEnv": [{"name": "AZURE_KUBERNETES_CA_DATA", "value": PEM}],
        },
        "keep one of them",
    ),
    "labels without a signer": (
        {"customTokenEndpoint": {**BOUND, "azureKubernetesCACTBLabelSelector": "{}"}},
        "set customTokenEndpoint.caTrustBundle.signerName",
    ),
    "a selector that is not JSON": (
        {
            "customTokenEndpoint": {
                **BOUND,
                "azureKubernetesCACTBSignerName": "example.com/ca",
                "azureKubernetesCACTBLabelSelector": "a=b",
            }
        },
        "azureKubernetesCACTBLabelSelector) is not a label selector in JSON",
    ),
    "a suffix without an endpoint": ({"customTokenEndpoint": BINDING}, "set customTokenEndpoint.url"),
    "a cloud that is a file": ({"azureEnvironment": "AzureStackCloud"}, "set authorityHost"),
    "an endpoint without TLS": (
        {"customTokenEndpoint": {**BINDING, "azureKubernetesTokenProxy": "http://x"}},
        "/customTokenEndpoint/azureKubernetesTokenProxy",
    ),
    "authorities that are not PEM": (
        {"customTokenEndpoint": {**BOUND, "azureKubernetesCaData": "/etc/ca.pem"}},
        "/customTokenEndpoint/azureKubernetesCaData",
    ),
    "the chart's own variable": ({"extraEnv": [{"name": "POD_NAMESPACE", "value": "x"}]}, "remove it"),
    "a misspelt variable": (
        {"extraEnv": [{"name": "AZURE_KUBERNETES_CA_CONFIG_MAP_NAME", "value": "ca"}]},
        "extraEnv has AZURE_KUBERNETES_CA_CONFIG_MAP_NAME, which would have no effect",
    ),
    "a variable of pods": ({"extraEnv": [{"name": "AZURE_KUBERNETES_CA_FILE", "value": "/x"}]}, "no effect"),
    "an option that the chart sets": ({"extraEnv": [{"name": "WISP_ADMISSION_LOG_LEVEL", "value": "debug"}]}, "effect"),
    "a file of clouds": ({"extraEnv": [{"name": "AZURE_ENVIRONMENT_FILEPATH", "value": "/x"}]}, "set authorityHost"),
    "a variable without a name": ({"extraEnv": [{"value": "x"}]}, "/extraEnv/0"),
    "an expression with an unknown operator": (
        {"customTokenEndpoint": {"caTrustBundle": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}},
        "/customTokenEndpoint/caTrustBundle/matchExpressions/0/operator",
    ),
}


@pytest.mark.parametrize("name", MEANINGLESS)
def test_meaningless_setting_is_rejected_with_a_hint(name: str, tmp_path: Path) -> None:
    values, expected = MEANINGLESS[name]
    assert expected in refusal(tmp_path, values)


@pytest.mark.parametrize(
    "name",
    ["HTTPS_PROXY", "NO_PROXY", "TZ", "SSL_CERT_FILE", "AZURE_AUTHORITY_HOST", "WISP_ADMISSION_SHUTDOWN_DELAY"],
)
def test_other_variable_is_passed_to_the_webhook(name: str, tmp_path: Path) -> None:
    """The process, or an option that has no value in the chart, reads it."""
    variable = {"name": name, "value": "1"}
    assert variable in container(rendered(tmp_path, {"extraEnv": [variable]}))["env"]
