"""`wisp inject`: workloads, documents that stay unchanged, and errors."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from tests.unit.wisp.admission.pods import account, named, pod, variables, with_sidecar
from tests.unit.wisp.cli.command import inject

ACCOUNT = json.dumps({**account(), "metadata": {**account()["metadata"], "namespace": None}})


def template(**spec: Any) -> dict[str, Any]:
    """Return the template of a labelled pod with the sidecar."""
    document = with_sidecar(serviceAccountName="app", **spec)
    return {"metadata": {key: document["metadata"][key] for key in ("labels", "annotations")}, "spec": document["spec"]}


def workload(kind: str, spec: dict[str, Any], version: str = "apps/v1") -> dict[str, Any]:
    """Return a workload without a namespace."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


WORKLOADS: dict[str, tuple[dict[str, Any], tuple[str | int, ...]]] = {
    "Pod": ({"kind": "Pod", "metadata": {"name": "web", **template()["metadata"]}, "spec": template()["spec"]}, ()),
    **{
        kind: (workload(kind, {"template": template()}), ("spec", "template"))
        for kind in (
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
            "Rollout",
        )
    },
    "CronJob": (
        workload("CronJob", {"jobTemplate": {"spec": {"template": template()}}}, "batch/v1"),
        ("spec", "jobTemplate", "spec", "template"),
    ),
    "PodTemplate": ({"kind": "PodTemplate", "metadata": {"name": "web"}, "template": template()}, ("template",)),
    "List": (
        {"kind": "List", "items": [{"kind": "Secret"}, workload("Deployment", {"template": template()})]},
        ("items", 1, "spec", "template"),
    ),
    "DeploymentList": (
        {"kind": "DeploymentList", "items": [workload("Deployment", {"template": template()})]},
        ("items", 0, "spec", "template"),
    ),
}


def value_at(document: Any, path: tuple[str | int, ...]) -> Any:
    """Return the value at a path."""
    for step in path:
        document = document[step]
    return document


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("kind", WORKLOADS)
def test_pods_of_every_kind_of_workload_are_injected_once(kind: str, form: str) -> None:
    """Injecting again changes nothing, and everything else in the workload stays."""
    document, path = WORKLOADS[kind]
    text = f"{ACCOUNT}\n---\n{json.dumps(document)}\n"
    ran = inject(text, "-o", form)
    assert ran.status == 0
    assert ran.stderr == ""
    if form == "json":
        decoder, (first, end) = json.JSONDecoder(), json.JSONDecoder().raw_decode(ran.stdout)
        after = decoder.raw_decode(ran.stdout[end:].lstrip())[0]
    else:
        first, after = yaml.safe_load_all(ran.stdout)
        assert inject(ran.stdout).stdout == ran.stdout
    assert first["kind"] == "ServiceAccount"
    pods = value_at(after, path)
    assert variables(named(pods, "app"))["AZURE_CLIENT_ID"]
    assert pods["spec"]["initContainers"][0]["name"] == "azwi-proxy-init"
    pods["spec"], pods["metadata"] = value_at(document, path)["spec"], value_at(document, path)["metadata"]
    assert after == document


def test_documents_without_labelled_pods_are_printed_unchanged() -> None:
    """Other objects, templates without the label and comments stay byte for byte; empty documents disappear."""
    text = (
        "# first\n---\n---\nkind: ConfigMap # mine\ndata: {on: y, t: 12:30,\n  d: 2024-01-01}\n...\n---\n"
        f"{yaml.dump(workload('Deployment', {'template': {'spec': {'containers': [{'name': 'a'}]}}}))}---\n- 1\n"
    )
    printed = inject(text).stdout
    assert printed.startswith("kind: ConfigMap # mine\ndata: {on: y, t: 12:30,\n  d: 2024-01-01}\n---\napiVersion")
    assert printed.endswith("\n---\n- 1\n")
    assert inject("").stdout == ""


def test_message_has_one_line_whatever_the_names_are() -> None:
    """Names and paths may contain line ends."""
    document = workload("Set\n", {"a\nb": template()}, "example.dev/v1")
    ran = inject(json.dumps(document))
    assert ran.status == 1
    (line,) = ran.stderr.splitlines()
    assert r"Set\n" in line
    assert r"/spec/a\nb" in line


def test_all_injects_templates_without_the_label() -> None:
    bare = workload("Deployment", {"template": {"spec": {"containers": [{"name": "app"}]}}})
    text = json.dumps(bare)
    assert "AZURE_TENANT_ID" not in inject(text).stdout
    ran = inject(text, "--all")
    assert "AZURE_TENANT_ID" in ran.stdout
    assert 'warning: Deployment "web" (document 1, /spec/template): the service account default has no' in ran.stderr


def test_service_accounts_are_read_from_files_and_manifests(tmp_path: Path) -> None:
    """An account is found by namespace and name."""
    file = tmp_path / "accounts.yaml"
    file.write_text(yaml.dump({"kind": "List", "items": [account(), account("other", client_id="other")]}))
    document = json.dumps(pod(serviceAccountName="app"))
    assert "6a1d0c9e" in inject(document, "--service-account", str(file)).stdout
    ran = inject(json.dumps({**pod(serviceAccountName="app"), "metadata": template()["metadata"]}))
    assert ran.status == 1
    assert 'its service account "app" in the namespace "default" is unknown: add it to the manifests' in ran.stderr
    ran = inject(
        json.dumps({**pod(serviceAccount="app"), "metadata": template()["metadata"]}),
        "-n",
        "apps",
        "--service-account",
        str(file),
    )
    assert "6a1d0c9e" in ran.stdout


def test_label_on_the_account_only_causes_a_warning() -> None:
    document = {**pod(serviceAccountName="app"), "metadata": {"name": "web"}}
    ran = inject(f"{ACCOUNT}\n---\n{json.dumps(document)}")
    assert "AZURE_CLIENT_ID" not in ran.stdout
    assert 'Pod "web" (document 2): service account app asks for an identity, but' in ran.stderr


@pytest.mark.parametrize(
    "text, status, message",
    [
        pytest.param("a: [", 1, "standard input is not YAML: ", id="not YAML"),
        pytest.param("a: !!python/name:os.system x", 1, "could not determine a constructor", id="a tag"),
        pytest.param(
            f"{yaml.dump(pod())}novel: &a [*a]",
            1,
            "input is nested too deeply, in document 1",
            id="a reference to itself",
        ),
        pytest.param("[" * 5000, 1, "standard input is nested too deeply", id="nested too deeply"),
        pytest.param(
            "a: \x00", 1, "is not YAML: character 4 is U+0000, which YAML does not allow", id="forbidden character"
        ),
        pytest.param(
            json.dumps(with_sidecar(hostNetwork=True)),
            1,
            'Pod "web" (document 1): the pod uses the node\'s network (hostNetwork), where the sidecar would serve '
            "the whole node: leave out hostNetwork",
            id="refused pod",
        ),
        pytest.param(
            f"{json.dumps(pod())}\n---\n{json.dumps(pod({'name': 7}))}",
            1,
            'Pod "web" (document 2): /spec/containers/0/name is not a string',
            id="error in the second document",
        ),
    ],
)
def test_invalid_manifest_is_refused_with_its_document(text: str, status: int, message: str) -> None:
    """Nothing is printed on standard output; one line names the document."""
    ran = inject(text)
    assert (ran.status, ran.stdout) == (status, "")
    assert message in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("error: ")


def test_example_in_the_documentation_is_injected_without_a_warning() -> None:
    """The manifest is in docs/reference/admission.md."""
    text = (ROOT / "docs/reference/admission.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    ran = inject(text, "--server-version", "1.34")
    assert (ran.status, ran.stderr) == (0, "")
    _, after = yaml.safe_load_all(ran.stdout)
    assert [container["name"] for container in after["spec"]["initContainers"]] == ["azwi-proxy-init", "azwi-proxy"]
