"""Labels and annotations of manifests in places without effect: `wisp inject` warns and names the right place."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.admission.pods import account
from tests.unit.wisp.cli.command import CommandResult, inject

PREFIX = "azure.workload.identity/"
LABEL = f"{PREFIX}use"
ACCOUNT = account()


def warned(*documents: dict[str, Any], arguments: tuple[str, ...] = ()) -> list[str]:
    """Return the warnings about documents, which must be printed, without `warning: `."""
    ran = inject("\n---\n".join(json.dumps(document) for document in documents), *arguments)
    assert ran.status == 0, ran.stderr
    assert list(yaml.safe_load_all(ran.stdout))
    return [line.removeprefix("warning: ") for line in ran.stderr.splitlines()]


def workload(
    kind: str = "Deployment",
    version: str = "apps/v1",
    *,
    labels: dict[str, Any] | None = None,
    annotations: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a workload whose template has these labels and annotations."""
    template = {
        "metadata": {"labels": {"app": "web", **(labels or {})}, "annotations": annotations or {}},
        "spec": {"serviceAccountName": "app", "containers": [{"name": "app", "image": "app:1"}]},
    }
    metadata = {"name": "web", "namespace": "apps"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {"template": template, **spec}}


def with_metadata(document: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return the object with more metadata."""
    return {**document, "metadata": {**document["metadata"], **metadata}}


def thing(kind: str, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    """Return an object without a template."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web", "namespace": "apps", **metadata}}


USED = {LABEL: "true"}
TO_TEMPLATE = f"put {LABEL} under /spec/template/metadata/labels"
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "on the Deployment": (
        with_metadata(workload(), labels=USED),
        f'Deployment "web" (document 1, /metadata/labels): the label {LABEL} has no effect here: {TO_TEMPLATE}',
    ),
    "in its selector": (
        workload(selector={"matchLabels": USED}),
        (
            'Deployment "web" (document 1, /spec/selector/matchLabels): '
            f"the label {LABEL} in a selector has no effect on the pods: {TO_TEMPLATE}"
        ),
    ),
    "on a Namespace": (
        thing("Namespace", labels=USED),
        (
            f'Namespace "web" (document 1, /metadata/labels): the label {LABEL} has no effect here: '
            f"put {LABEL} under the labels of the pods"
        ),
    ),
    "on a custom resource with a template": (
        with_metadata(workload("Rollout", "argoproj.io/v1alpha1"), labels=USED),
        f'Rollout "web" (document 1, /metadata/labels): the label {LABEL} has no effect here: {TO_TEMPLATE}',
    ),
    "on a custom resource without one": (
        thing("Widget", "example.dev/v1", labels=USED),
        (
            f'Widget "web" (document 1, /metadata/labels): the label {LABEL} is not on a pod, and there is no template '
            "of pods in this object: if its pods get the label, the webhook injects them"
        ),
    ),
    "on a CronJob's Jobs": (
        {
            **thing("CronJob", "batch/v1"),
            "spec": {
                "jobTemplate": {
                    "metadata": {"labels": USED},
                    "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}},
                }
            },
        },
        (
            f'CronJob "web" (document 1, /spec/jobTemplate/metadata/labels): the label {LABEL} has no effect here: '
            f"put {LABEL} under /spec/jobTemplate/spec/template/metadata/labels"
        ),
    ),
    "on a JobSet's Jobs": (
        {
            **thing("JobSet", "jobset.x-k8s.io/v1alpha2"),
            "spec": {
                "replicatedJobs": [
                    {
                        "template": {
                            "metadata": {"labels": USED},
                            "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}},
                        }
                    }
                ]
            },
        },
        (
            f"(document 1, /spec/replicatedJobs/0/template/metadata/labels): the label {LABEL} has no effect here: "
            f"put {LABEL} under /spec/replicatedJobs/0/template/spec/template/metadata/labels"
        ),
    ),
    "next to the labels": (
        with_metadata(workload(), **USED),
        f'Deployment "web" (document 1, /metadata): the label {LABEL} has no effect here: {TO_TEMPLATE}',
    ),
    "next to the labels of the template": (
        {
            **workload(),
            "spec": {"template": {"metadata": USED, "spec": {"containers": [{"name": "a"}]}}},
        },
        f'Deployment "web" (document 1, /spec/template/metadata): the label {LABEL} has no effect here: {TO_TEMPLATE}',
    ),
    "under a misspelled name": (
        {
            **workload(),
            "spec": {"template": {"metadata": {"label": USED}, "spec": {"containers": [{"name": "a"}]}}},
        },
        f"(document 1, /spec/template/metadata/label): the label {LABEL} has no effect here: {TO_TEMPLATE}",
    ),
    "under a misspelled name, in a pod": (
        {**thing("Pod", label=USED), "spec": {"containers": [{"name": "a"}]}},
        f'Pod "web" (document 1, /metadata/label): the label {LABEL} has no effect here: put {LABEL} under /metadata/',
    ),
    "under a misspelled name, in a custom resource": (
        {
            **thing("Widget", "example.dev/v1"),
            "spec": {"podTemplate": {"metadata": {"label": USED}, "spec": {"containers": [{"name": "a"}]}}},
        },
        f"put {LABEL} under /spec/podTemplate/metadata/labels",
    ),
    "in the template, not in its metadata": (
        {**workload(), "spec": {"template": {"labels": USED, "spec": {"containers": [{"name": "a"}]}}}},
        f"(document 1, /spec/template/labels): the label {LABEL} has no effect here: {TO_TEMPLATE}",
    ),
    "annotated on a CronJob's Jobs": (
        {
            **thing("CronJob", "batch/v1"),
            "spec": {
                "jobTemplate": {
                    "metadata": {"annotations": {f"{PREFIX}inject-proxy-sidecar": "true"}},
                    "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}},
                }
            },
        },
        f"put {PREFIX}inject-proxy-sidecar under /spec/jobTemplate/spec/template/metadata/annotations",
    ),
    "unknown on the Deployment": (
        with_metadata(workload(), annotations={f"{PREFIX}enabled": "true"}),
        f"the annotation {PREFIX}enabled has no effect here: remove it: the key is unknown",
    ),
    "on claims": (
        workload("StatefulSet", volumeClaimTemplates=[{"metadata": {"name": "data", "labels": USED}}]),
        f'StatefulSet "web" (document 1, /spec/volumeClaimTemplates/0/metadata/labels): the label {LABEL} has no',
    ),
    "another value, on the Deployment": (
        with_metadata(workload(), labels={LABEL: "yes"}),
        f'the label {LABEL} is "yes": only "true" counts: write "true", or remove {LABEL}',
    ),
    "as an annotation of the Deployment": (
        with_metadata(workload(), annotations=USED),
        (
            f'Deployment "web" (document 1, /metadata/annotations): '
            f"the annotation {LABEL} has no effect: it is a label: {TO_TEMPLATE}"
        ),
    ),
    "sidecar annotated on the Deployment": (
        with_metadata(workload(), annotations={f"{PREFIX}inject-proxy-sidecar": "true"}),
        (
            f'Deployment "web" (document 1, /metadata/annotations): the annotation {PREFIX}inject-proxy-sidecar has no '
            f"effect here: put {PREFIX}inject-proxy-sidecar under /spec/template/metadata/annotations"
        ),
    ),
    "client id annotated on the Deployment": (
        with_metadata(workload(), annotations={f"{PREFIX}client-id": "x"}),
        f"{PREFIX}client-id has no effect here: put {PREFIX}client-id under the annotations of the service account",
    ),
    "client id annotated on a Namespace": (
        thing("Namespace", annotations={"azure.workload.identity.client-id": "x"}),
        (
            "azure.workload.identity.client-id has no effect here: "
            f"put {PREFIX}client-id under the annotations of the service account"
        ),
    ),
    "client id as the Deployment's label": (
        with_metadata(workload(), labels={f"{PREFIX}client-id": "x"}),
        (
            f"the label {PREFIX}client-id has no effect here: "
            f"put {PREFIX}client-id under the annotations of the service account"
        ),
    ),
    "misspelled on the Deployment": (
        with_metadata(workload(), labels={"azure.workload.identity.use": "true"}),
        f"the label azure.workload.identity.use has no effect here: {TO_TEMPLATE}",
    ),
    "in a policy": (
        {
            **thing("ClusterPolicy", "kyverno.io/v1"),
            "spec": {"rules": [{"mutate": {"patchStrategicMerge": {"metadata": {"labels": USED}}}}]},
        },
        "a ClusterPolicy describes other objects: nothing in it is injected",
    ),
    "in a kustomization": (
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "labels": [{"pairs": USED, "includeTemplates": True}],
        },
        "kustomize build DIRECTORY | wisp inject -f -",
    ),
    "of a Template": (
        {**thing("Template", "template.openshift.io/v1"), "labels": USED, "objects": []},
        f'Template "web" (document 1, /labels): the label {LABEL} has no effect here',
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_misplaced_key_causes_one_warning_with_its_place(name: str) -> None:
    """The warning has the object, document, path and fix; the manifest is printed unchanged."""
    document, expected = MISTAKES[name]
    assert [expected in warning for warning in warned(document)] == [True]


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([with_metadata(workload(labels=USED), labels=USED)], id="on workload and template, as in charts"),
        pytest.param([workload(labels=USED, selector={"matchLabels": USED})], id="also in the selector"),
        pytest.param(
            [
                with_metadata(
                    workload(labels=USED, annotations={f"{PREFIX}skip-containers": "app"}),
                    annotations={f"{PREFIX}skip-containers": "app"},
                )
            ],
            id="annotation on workload and template",
        ),
        pytest.param([with_metadata(workload(), labels={LABEL: "false"})], id="label false"),
        pytest.param(
            [
                {
                    **thing("Grafana", "grafana.integreatly.org/v1beta1"),
                    "spec": {"deployment": {"metadata": {"labels": USED}, "spec": workload(labels=USED)["spec"]}},
                }
            ],
            id="on workload and template in a custom resource",
        ),
        pytest.param([{**thing("Service"), "spec": {"selector": USED}}], id="a Service"),
        pytest.param(
            [{**thing("NetworkPolicy", "networking.k8s.io/v1"), "spec": {"podSelector": {"matchLabels": USED}}}],
            id="a NetworkPolicy",
        ),
        pytest.param(
            [
                {
                    **thing("MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1"),
                    "webhooks": [{"objectSelector": {"matchLabels": USED}}],
                }
            ],
            id="the webhook's configuration",
        ),
        pytest.param(
            [
                {
                    **thing("HelmRelease", "helm.toolkit.fluxcd.io/v2"),
                    "spec": {"values": {"serviceAccount": {"annotations": {f"{PREFIX}client-id": "x"}}}},
                }
            ],
            id="annotations in a chart's values",
        ),
        pytest.param([with_metadata(ACCOUNT, labels=USED)], id="on a service account"),
        pytest.param(
            [
                {
                    **thing("FlinkDeployment", "flink.apache.org/v1beta1", labels=USED),
                    "spec": {
                        "serviceAccount": "app",
                        "podTemplate": {**thing("Pod", labels=USED), "spec": {"containers": [{"name": "app"}]}},
                    },
                }
            ],
            id="on an object whose template is a complete pod",
        ),
        pytest.param(
            [
                {
                    **thing("DeploymentRuntimeConfig", "pkg.crossplane.io/v1beta1"),
                    "spec": {"serviceAccountTemplate": {"metadata": {"labels": USED}}},
                }
            ],
            id="in a service account template",
        ),
        pytest.param(
            [
                {
                    **thing("FlinkDeployment", "flink.apache.org/v1beta1"),
                    "spec": {
                        "serviceAccount": "app",
                        "flinkConfiguration": {"kubernetes.jobmanager.labels": f"{LABEL}:true"},
                        "podTemplate": workload(labels=USED)["spec"]["template"],
                    },
                }
            ],
            id="in settings, with the label in the template",
        ),
    ],
)
def test_correct_manifest_causes_no_warning(documents: list[dict[str, Any]]) -> None:
    """Selectors may contain the label, and so may objects around pods that have it."""
    assert [
        warning for warning in warned(ACCOUNT, *documents) if "has no effect" in warning or "in a selector" in warning
    ] == []


def test_selector_of_another_object_causes_no_warning() -> None:
    """A pod's own rules about other pods do not concern the pod."""
    document = workload()
    term = {"labelSelector": {"matchLabels": USED}, "topologyKey": "a"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    document["spec"]["template"]["spec"]["affinity"] = affinity
    assert warned(document) == []


def test_all_makes_a_misplaced_label_harmless() -> None:
    """With --all, pods get their identity without the label."""
    ran = warned(ACCOUNT, with_metadata(workload(), labels=USED), arguments=("--all",))
    assert ran == []


@pytest.mark.parametrize(
    "labels, expected",
    [
        ({LABEL: "True"}, 'the label azure.workload.identity/use is "True": only "true" counts'),
        ({LABEL: "TRUE"}, 'is "TRUE": only "true" counts'),
        ({LABEL: "yes"}, 'is "yes": only "true" counts'),
        ({LABEL: "1"}, 'is "1": only "true" counts'),
        ({LABEL: "enabled"}, 'is "enabled": only "true" counts'),
        ({LABEL: " true"}, 'is " true": only "true" counts'),
        ({LABEL: "${USE}"}, 'is "${USE}": only "true" counts'),
        ({LABEL: ""}, 'is "": only "true" counts'),
        ({"azure.workload.identity.use": "true"}, f"azure.workload.identity.use is misspelled: write {LABEL}"),
        ({"azure.workload.identity/Use": "true"}, f"azure.workload.identity/Use is misspelled: write {LABEL}"),
        ({"azure.workloadidentity/use": "true"}, f"azure.workloadidentity/use is misspelled: write {LABEL}"),
        (
            {f"{PREFIX}inject-proxy-sidecar": "true"},
            "inject-proxy-sidecar has no effect: it is an annotation of the pod",
        ),
        ({f"{PREFIX}client-id": "x"}, "the label client-id has no effect: it is an annotation of the service account"),
    ],
    ids=str,
)
def test_wrong_label_of_a_template_causes_a_warning(labels: dict[str, str], expected: str) -> None:
    """Nothing is injected; the warning has the reason and the path of the template."""
    (warning,) = warned(workload(labels=labels))
    assert warning.startswith('Deployment "web" (document 1, /spec/template): the label ')
    assert expected in warning


@pytest.mark.parametrize("value", ["false", "False", "no", "0", "off", "n", "disabled"])
def test_declining_label_causes_no_warning(value: str) -> None:
    """The label with such a value is a deliberate refusal."""
    assert warned(workload(labels={LABEL: value})) == []


@pytest.mark.parametrize(
    "annotations, expected",
    [
        (USED, "the annotation use has no effect: azure.workload.identity/use is a label of the pod"),
        ({f"{PREFIX}Use": "true"}, f"the annotation {PREFIX}Use has no effect: {LABEL} is a label of the pod"),
        (
            {f"{PREFIX}inject-proxy-sidecar": "true"},
            f"inject-proxy-sidecar has no effect: the pod has no label {LABEL}",
        ),
    ],
    ids=str,
)
def test_misspelled_annotation_of_a_template_causes_a_warning(annotations: dict[str, str], expected: str) -> None:
    """An annotation cannot replace the label."""
    assert [expected in warning for warning in warned(workload(annotations=annotations))] == [True]


@pytest.mark.parametrize(
    "written", ["true", "True", "yes", "on", "y", "1", "1.0", "", "~", "{a: b}", "[true]", "false", "no"]
)
@pytest.mark.parametrize("where", ["template", "object", "pod", "template's annotation"])
def test_label_that_is_not_a_string_is_an_error(written: str, where: str) -> None:
    """API servers reject it. The error has its path and the right syntax."""
    document = {
        "template": lambda: workload(labels={LABEL: "VALUE"}),
        "object": lambda: with_metadata(workload(), labels={LABEL: "VALUE"}),
        "pod": lambda: {**thing("Pod", labels={LABEL: "VALUE"}), "spec": {"containers": [{"name": "app"}]}},
        "template's annotation": lambda: workload(annotations={LABEL: "VALUE"}),
    }[where]()
    text = yaml.dump(document).replace("VALUE", written)
    for every in ((), ("--all",)):
        error = refused(inject(f"{yaml.dump(ACCOUNT)}---\n{text}", *every))
        assert f'/{LABEL} is not a string: write its value in quotes, such as "true"' in error
        assert '"web" (document 2' in error


def refused(ran: CommandResult) -> str:
    """Return the error line; nothing may be printed."""
    assert (ran.status, ran.stdout) == (1, "")
    return ran.stderr.splitlines()[-1]


def test_selector_that_is_not_a_string_is_an_error() -> None:
    """API servers reject it, too."""
    document = workload(labels=USED, selector={"matchLabels": {LABEL: True}})
    assert f"/spec/selector/matchLabels/{LABEL} is not a string" in refused(inject(json.dumps(document)))


@pytest.mark.parametrize("labels", [[f"{LABEL}=true"], f"{LABEL}=true", 1, [{LABEL: "true"}]], ids=str)
@pytest.mark.parametrize("every", [(), ("--all",)], ids=["labelled", "all"])
def test_labels_that_are_not_a_map_are_an_error(labels: Any, every: tuple[str, ...]) -> None:
    document = workload()
    document["spec"]["template"]["metadata"]["labels"] = labels
    error = refused(inject(json.dumps(document), *every))
    assert 'Deployment "web" (document 1, /spec/template): /spec/template/metadata/labels is not an object' in error


def test_other_label_that_is_not_a_string_is_not_checked() -> None:
    """API servers reject the pod for it, so it is not injected."""
    error = refused(inject(f"{yaml.dump(ACCOUNT)}---\n{yaml.dump(workload(labels={**USED, 'version': 1}))}"))
    assert "/metadata/labels has a value that is not a string, under 'version'" in error


ACCOUNT_MISTAKES = [
    ({"labels": {f"{PREFIX}client-id": "x"}}, "the label client-id has no effect: it is an annotation of the service"),
    ({"labels": {f"{PREFIX}skip-containers": "x"}}, "skip-containers has no effect: it is an annotation of the pod"),
    (
        {"annotations": {f"{PREFIX}inject-proxy-sidecar": "true"}},
        "the annotation inject-proxy-sidecar belongs on the pod: it has no effect on the service account",
    ),
    ({"annotations": USED}, "the annotation use has no effect: azure.workload.identity/use is a label of the pod"),
    (
        {"annotations": {"azure.workload.identity.client-id": "x"}},
        "misspelled: write azure.workload.identity/client-id",
    ),
    ({"annotations": {f"{PREFIX}app-id": "x"}}, "the annotation app-id of the service account is unknown"),
]


@pytest.mark.parametrize("metadata, expected", ACCOUNT_MISTAKES, ids=[str(mistake[0]) for mistake in ACCOUNT_MISTAKES])
def test_misplaced_key_on_a_service_account_causes_a_warning(metadata: dict[str, Any], expected: str) -> None:
    """There is one warning: about the pods that use the account, or about the account if there are none."""
    own = ACCOUNT["metadata"]
    merged = {key: {**own.get(key, {}), **value} for key, value in metadata.items()}
    mistaken = with_metadata(ACCOUNT, **merged)
    (alone,) = warned(mistaken)
    assert alone.startswith('ServiceAccount "app" (document 1): ')
    assert expected in alone
    (with_a_pod,) = warned(mistaken, workload(labels=USED))
    assert with_a_pod.startswith('Deployment "web" (document 2, /spec/template): ')
    assert expected in with_a_pod


def test_account_annotation_that_is_not_a_string_is_an_error() -> None:
    """API servers reject it."""
    document = with_metadata(ACCOUNT, annotations={f"{PREFIX}client-id": 12})
    assert "/metadata/annotations/azure.workload.identity/client-id is not a string" in refused(
        inject(yaml.dump(document))
    )


_KEYS = ("metadata", "labels", "annotations", "spec", "template", "containers", "kind", "items", "selector", "status")
_VALUES = st.sampled_from(("true", "Pod", "List", "Deployment", "ServiceAccount", "Template", "", None, True, 1, "x"))
DOCUMENTS = st.recursive(
    _VALUES,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from((*_KEYS, "apiVersion", "name", "serviceAccount", LABEL, f"{PREFIX}client-id")),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_any_document_causes_only_warnings_of_one_line(document: Any) -> None:
    """It is injected, printed unchanged or refused with a message, and injecting again changes nothing."""
    text = json.dumps(document)
    for every in ((), ("--all",)):
        ran = inject(text, *every)
        assert ran.status in (0, 1)
        if ran.status == 1:
            assert ran.stdout == ""
            assert not ran.stderr.splitlines()[-1].startswith("warning")
        else:
            again = inject(ran.stdout, *every)
            assert (again.status, again.stdout) == (0, ran.stdout)
