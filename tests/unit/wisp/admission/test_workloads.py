"""Pod templates in workloads and custom resources: they are found by their structure, at any depth."""

import json
from typing import Any

import pytest
import yaml

from tests.unit.wisp.admission.custom_resources import GOLDEN, MANIFESTS, NAMES, injected
from tests.unit.wisp.admission.pods import account
from tests.unit.wisp.cli.command import CommandResult, inject

LABEL = "azure.workload.identity/use"
ACCOUNT = yaml.dump(account())


@pytest.mark.parametrize("name", NAMES)
def test_every_labelled_template_of_a_manifest_is_injected_once(name: str) -> None:
    """Nothing else changes, and injecting again changes nothing."""
    ran = injected(name)
    assert ran.status == 0
    assert ran.stdout == (GOLDEN / name).read_text(encoding="utf-8")
    again = inject(ran.stdout, "--service-account", str(MANIFESTS / "accounts.yaml"), "--server-version", "1.34")
    assert again.stdout == ran.stdout


TEMPLATES = {
    "keda.yaml": 1,
    "ray.yaml": 2,
    "training.yaml": 5,
    "flink.yaml": 1,
    "spark.yaml": 1,
    "knative.yaml": 1,
    "openshift.yaml": 1,
    "crossplane.yaml": 1,
    "elastic.yaml": 2,
}


def test_golden_files_have_a_volume_per_labelled_template() -> None:
    found = {
        name: json.dumps(list(yaml.safe_load_all((GOLDEN / name).read_text(encoding="utf-8")))).count(
            "expirationSeconds"
        )
        for name in NAMES
    }
    assert found == TEMPLATES


def of(kind: str, version: str, spec: dict[str, Any], **metadata: Any) -> str:
    """Return a manifest with a service account and one object."""
    named = {"name": "web", "namespace": "apps", **metadata}
    return f"{ACCOUNT}---\n{yaml.dump({'apiVersion': version, 'kind': kind, 'metadata': named, 'spec': spec})}"


def template(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a labelled template."""
    metadata = {"labels": {LABEL: "true"}, **({"annotations": annotations} if annotations else {})}
    return {"metadata": metadata, "spec": {"serviceAccountName": "app", "containers": [{"name": "app"}], **spec}}


def refused(ran: CommandResult) -> str:
    """Return the error line; nothing may be printed."""
    assert (ran.status, ran.stdout) == (1, "")
    return ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("mode", ["redirect", "env"])
@pytest.mark.parametrize("kind", ["Service", "Configuration"])
def test_knative_sidecar_is_refused_but_the_identity_is_injected(kind: str, mode: str) -> None:
    """Knative's API rejects both forms of the sidecar."""
    prefix = "azure.workload.identity/"
    annotations = {f"{prefix}inject-proxy-mode": mode, f"{prefix}inject-proxy-sidecar": "true"}
    error = refused(
        inject(of(kind, "serving.knative.dev/v1", {"template": template(annotations)}), "--server-version", "1.34")
    )
    assert f'{kind} "web" (document 2, /spec/template): Knative Serving rejects the sidecar' in error
    assert "leave this object to the webhook" in error
    ran = inject(of(kind, "serving.knative.dev/v1", {"template": template()}))
    assert (ran.status, ran.stdout.count("AZURE_CLIENT_ID")) == (0, 1)


def test_service_of_another_group_is_not_knative() -> None:
    annotations = {"azure.workload.identity/inject-proxy-sidecar": "true"}
    assert inject(of("Service", "example.dev/v1", {"template": template(annotations)})).status == 0


ASKING: dict[str, tuple[str, str]] = {
    "Argo's podMetadata": (
        of("Workflow", "argoproj.io/v1alpha1", {"podMetadata": {"labels": {LABEL: "true"}}, "templates": []}),
        'Workflow "web" (document 2, /spec/podMetadata/labels)',
    ),
    "an Argo template": (
        of(
            "Workflow",
            "argoproj.io/v1alpha1",
            {"templates": [{"name": "a", "metadata": {"labels": {LABEL: "true"}}, "container": {"image": "a:1"}}]},
        ),
        'Workflow "web" (document 2, /spec/templates/0/metadata/labels)',
    ),
    "Prometheus": (
        of(
            "Prometheus",
            "monitoring.coreos.com/v1",
            {"podMetadata": {"labels": {LABEL: "true"}}, "containers": [{"name": "prometheus"}]},
        ),
        'Prometheus "web" (document 2, /spec/podMetadata/labels)',
    ),
    "Spark's labels": (
        of("SparkApplication", "sparkoperator.k8s.io/v1beta2", {"driver": {"labels": {LABEL: "true"}}}),
        'SparkApplication "web" (document 2, /spec/driver/labels)',
    ),
    "a Spark template without containers": (
        of("ScheduledSparkApplication", "example.io/v1", {"template": {"driver": {"labels": {LABEL: "true"}}}}),
        "/spec/template/driver/labels",
    ),
    "Strimzi": (
        of(
            "KafkaConnect", "kafka.strimzi.io/v1beta2", {"template": {"pod": {"metadata": {"labels": {LABEL: "true"}}}}}
        ),
        'KafkaConnect "web" (document 2, /spec/template/pod/metadata/labels)',
    ),
    "Strimzi's object": (
        of("KafkaConnect", "kafka.strimzi.io/v1beta2", {}, labels={LABEL: "true"}),
        'KafkaConnect "web" (document 2, /metadata/labels)',
    ),
    "a virtual machine": (
        of(
            "VirtualMachine",
            "kubevirt.io/v1",
            {"template": {"metadata": {"labels": {LABEL: "true"}}, "spec": {"domain": {"devices": {}}}}},
        ),
        'VirtualMachine "web" (document 2, /spec/template/metadata/labels)',
    ),
    "Tekton": (
        of("TaskRun", "tekton.dev/v1", {"taskSpec": {"steps": [{"name": "a"}]}}, labels={LABEL: "true"}),
        'TaskRun "web" (document 2, /metadata/labels)',
    ),
    "a notebook": (
        of("Notebook", "kubeflow.org/v1", {"template": {"spec": {"containers": [{}]}}}, labels={LABEL: "true"}),
        'Notebook "web" (document 2, /metadata/labels)',
    ),
    "a chart's values": (
        of("HelmRelease", "helm.toolkit.fluxcd.io/v2", {"values": {"podLabels": {LABEL: "true"}}}),
        'HelmRelease "web" (document 2, /spec/values/podLabels)',
    ),
    "Spark's settings": (
        of(
            "SparkApplication",
            "sparkoperator.k8s.io/v1beta2",
            {"sparkConf": {f"spark.kubernetes.driver.label.{LABEL}": "true"}},
        ),
        'SparkApplication "web" (document 2, /spec/sparkConf)',
    ),
    "Flink's settings": (
        of(
            "FlinkDeployment",
            "flink.apache.org/v1beta1",
            {"flinkConfiguration": {"kubernetes.jobmanager.labels": f"app:clicks,{LABEL}:true"}},
        ),
        'FlinkDeployment "web" (document 2, /spec/flinkConfiguration)',
    ),
    "values alone": (f'podLabels:\n  {LABEL}: "true"\n', 'object "" (document 1, /podLabels)'),
    "a template without containers": (
        of("Deployment", "apps/v1", {"template": {"metadata": {"labels": {LABEL: "true"}}, "spec": {}}}),
        'Deployment "web" (document 2, /spec/template/metadata/labels)',
    ),
    "containers by a parameter": (
        of("Deployment", "apps/v1", {"template": template(containers="${{CONTAINERS}}")}),
        "there is no list /spec/template/spec/containers",
    ),
    "a pod without containers": (
        of("Pod", "v1", {}, labels={LABEL: "true"}),
        'Pod "web" (document 2, /metadata/labels)',
    ),
    "a PodTemplate without containers": (
        yaml.dump({"kind": "PodTemplate", "template": {"metadata": {"labels": {LABEL: "true"}}}}),
        "there is no list /template/spec/containers",
    ),
}


@pytest.mark.parametrize("name", ASKING)
def test_label_that_reaches_pods_without_a_template_is_an_error(name: str) -> None:
    """The pods get the label from a field that has no containers to inject into."""
    text, expected = ASKING[name]
    line = refused(inject(text))
    assert expected in line
    assert line.startswith("error: ")
    assert "leave this object to the webhook" in line or "add the pod's containers" in line


def test_label_without_a_template_next_to_an_injected_one_is_an_error() -> None:
    """The first part of the object has a template, the second has none; nothing is printed."""
    spec = {"head": template(), "workers": {"podLabels": {LABEL: "true"}}}
    error = refused(inject(of("Cluster", "example.dev/v1", spec)))
    assert 'Cluster "web" (document 2, /spec/workers/podLabels): the label' in error


def test_containers_of_another_kind_are_not_a_template() -> None:
    """Prometheus merges `spec.containers` into its own, and SidecarSet injects them: neither is a pod."""
    for kind, version in (("Prometheus", "monitoring.coreos.com/v1"), ("SidecarSet", "apps.kruise.io/v1alpha1")):
        text = of(kind, version, {"containers": [{"name": "a"}]}, labels={LABEL: "true"})
        ran = inject(text, "--all")
        assert ran.status == 0
        assert "AZURE" not in ran.stdout


@pytest.mark.parametrize(
    "spec, account_name",
    [
        pytest.param(
            {"serviceAccount": "app", "podTemplate": template(serviceAccountName=None)},
            "app",
            id="account outside the template only",
        ),
        pytest.param(
            {"serviceAccount": "no", "podTemplate": template()}, "app", id="account of the pod takes precedence"
        ),
    ],
)
def test_account_named_outside_the_template_is_used(spec: dict[str, Any], account_name: str) -> None:
    """Flink and Spark name it next to the template."""
    ran = inject(of("FlinkDeployment", "flink.apache.org/v1beta1", spec))
    assert (ran.status, ran.stderr) == (0, "")
    assert account_name == "app"
    assert "6a1d0c9e" in ran.stdout.partition("---")[2]


def test_embedded_object_inherits_the_namespace_except_in_lists_and_templates() -> None:
    """An embedded object is created in the namespace of the object around it."""
    manifest = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template()}}
    outer = of("Object", "kubernetes.crossplane.io/v1alpha2", {"forProvider": {"manifest": manifest}})
    assert inject(outer).status == 0
    for kind, key in (("List", "items"), ("Template", "objects")):
        listed = yaml.dump({"kind": kind, "metadata": {"name": "a", "namespace": "apps"}, key: [manifest]})
        assert 'in the namespace "default" is unknown' in refused(inject(f"{ACCOUNT}---\n{listed}"))


def test_embedded_service_accounts_are_found() -> None:
    """References to accounts are not accounts."""
    embedded = {"spec": {"manifests": [account()]}, "kind": "Work", "metadata": {"name": "work"}}
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": "a"},
        "subjects": [{"kind": "ServiceAccount", "name": "app"}],
    }
    text = "---\n".join(
        yaml.dump(document)
        for document in (
            embedded,
            binding,
            {"kind": "ReplicaSet", "metadata": {"namespace": "apps"}, "spec": {"template": template()}},
        )
    )
    ran = inject(text)
    assert (ran.status, "value: 6a1d0c9e" in ran.stdout.replace('"', "")) == (0, True)


def test_items_of_an_api_list_have_the_kind_of_the_list() -> None:
    item = {"metadata": {"name": "web", "namespace": "apps", **template()["metadata"]}, "spec": template()["spec"]}
    ran = inject(f"{ACCOUNT}---\n{yaml.dump({'kind': 'PodList', 'apiVersion': 'v1', 'items': [item]})}")
    alone = inject(f"{ACCOUNT}---\n{yaml.dump({'kind': 'Pod', **item})}")
    (after,) = list(yaml.safe_load_all(ran.stdout))[1]["items"]
    assert {"kind": "Pod", **after} == list(yaml.safe_load_all(alone.stdout))[1]


def test_status_and_records_of_the_cluster_are_ignored() -> None:
    """They are neither injected nor warned about."""
    deployment = {
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "managedFields": [{"fieldsV1": {"f:metadata": {"f:labels": {f"f:{LABEL}": {}, LABEL: "true"}}}}],
        },
        "spec": {},
        "status": {"template": template()},
    }
    record = {"kind": "ControllerRevision", "metadata": {"name": "web"}, "data": {"spec": {"template": template()}}}
    text = f"{yaml.dump(deployment)}---\n{yaml.dump(record)}"
    ran = inject(text)
    assert (ran.status, ran.stderr, ran.stdout) == (0, "", text)


def test_member_names_are_escaped_in_pointers() -> None:
    """Members of any name may contain a template."""
    ran = inject(of("Set", "example.dev/v1", {"a/b~c": {"": template()}}))
    assert ran.status == 0
    spec = list(yaml.safe_load_all(ran.stdout))[1]["spec"]["a/b~c"][""]["spec"]
    assert spec["containers"][0]["env"]


def test_document_that_is_a_list_is_injected() -> None:
    """Kubectl does not read such a file."""
    manifest = {
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "apps"},
        "spec": {"template": template()},
    }
    ran = inject(f"{ACCOUNT}---\n{yaml.dump([manifest])}")
    assert list(yaml.safe_load_all(ran.stdout))[1][0]["spec"]["template"]["spec"]["containers"][0]["env"]


def test_shared_templates_are_injected_once_each() -> None:
    """A template that an alias repeats is changed in both places, once."""
    text = f"""{ACCOUNT}---
kind: Set
apiVersion: example.dev/v1
metadata: {{name: web, namespace: apps}}
spec:
  first: &template
    metadata: {{labels: {{{LABEL}: "true"}}}}
    spec: &spec
      serviceAccountName: app
      containers: &containers
      - name: app
  second: *template
  third:
    metadata: {{}}
    spec: *spec
  fourth:
    metadata: {{labels: {{{LABEL}: "true"}}}}
    spec: {{<<: *spec, containers: *containers, serviceAccountName: default}}
"""
    ran = inject(text)
    assert ran.status == 0
    spec = list(yaml.safe_load_all(ran.stdout))[1]["spec"]
    assert spec["first"] == spec["second"]
    assert [variable["name"] for variable in spec["first"]["spec"]["containers"][0]["env"]].count(
        "AZURE_CLIENT_ID"
    ) == 1
    assert spec["third"]["spec"] == {"serviceAccountName": "app", "containers": [{"name": "app"}]}
    assert spec["fourth"]["spec"]["containers"][0]["env"][0]["name"] == "AZURE_TENANT_ID"


@pytest.mark.parametrize(
    "line", ["l{n}: &l{n} [*l{m}, *l{m}]", "l{n}: &l{n} {{a: *l{m}, b: *l{m}}}"], ids=["lists", "maps"]
)
def test_aliases_that_expand_to_an_enormous_document_are_refused(line: str) -> None:
    text = "l0: &l0 [x, y]\n" + "".join(f"{line.format(n=n, m=n - 1)}\n" for n in range(1, 60))
    assert "most of them through aliases: write it with fewer" in refused(inject(text))


def test_merges_of_merges_have_as_many_keys_as_names() -> None:
    text = "m0: &m0 {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: 1}}\n" for n in range(1, 60))
    ran = inject(f"{ACCOUNT}---\n{text}{yaml.dump(template())}", "-n", "apps", "-o", "json")
    assert ran.status == 0
    assert '"k58": 1' in ran.stdout


def test_nesting_is_bounded() -> None:
    """The limit is well above the depth of real objects."""

    def nested(levels: int) -> str:
        inner: Any = template()
        for _ in range(levels):
            inner = {"a": inner}
        return of("Set", "example.dev/v1", inner)

    assert inject(nested(150)).stdout.count("AZURE_CLIENT_ID") == 1
    assert "is nested too deeply, in document 2" in refused(inject(nested(300)))


def test_unrendered_chart_is_refused_with_the_command_that_renders_it() -> None:
    text = 'kind: Deployment\nmetadata:\n  labels:\n    {{- include "labels" . | nindent 4 }}\n'
    assert "helm template CHART | wisp inject -f -" in refused(inject(text))


def test_manifest_in_a_config_map_is_not_injected() -> None:
    manifest = yaml.dump({"kind": "Deployment", "spec": {"template": template()}})
    text = yaml.dump({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"deployment.yaml": manifest}})
    ran = inject(text)
    assert (ran.status, ran.stdout, ran.stderr) == (0, text, "")
