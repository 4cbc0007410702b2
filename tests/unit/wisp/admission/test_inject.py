"""`wisp inject`: every kind of manifest, and what is left alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from tests.unit.wisp.admission.command import inject, run
from tests.unit.wisp.admission.pods import account, named, pod, variables, with_sidecar
from wisp.cli import wisp

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


def at(document: Any, way: tuple[str | int, ...]) -> Any:
    """Return what is there."""
    for step in way:
        document = document[step]
    return document


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("kind", WORKLOADS)
def test_pods_of_every_kind_of_workload_are_injected_once(kind: str, form: str) -> None:
    """Its pods get the identity, once however often it is done, and nothing else of it changes."""
    document, way = WORKLOADS[kind]
    text = f"{ACCOUNT}\n---\n{json.dumps(document)}\n"
    ran = inject(text, "-o", form)
    assert ran.status == 0
    assert ran.noted == ""
    if form == "json":
        decoder, (first, end) = json.JSONDecoder(), json.JSONDecoder().raw_decode(ran.printed)
        after = decoder.raw_decode(ran.printed[end:].lstrip())[0]
    else:
        first, after = yaml.safe_load_all(ran.printed)
        assert inject(ran.printed).printed == ran.printed
    assert first["kind"] == "ServiceAccount"
    pods = at(after, way)
    assert variables(named(pods, "app"))["AZURE_CLIENT_ID"]
    assert pods["spec"]["initContainers"][0]["name"] == "azwi-proxy-init"
    pods["spec"], pods["metadata"] = at(document, way)["spec"], at(document, way)["metadata"]
    assert after == document


def test_documents_without_labelled_pods_are_printed_unchanged() -> None:
    """To the letter: other objects, templates without the label, comments; empty documents vanish."""
    text = (
        "# first\n---\n---\nkind: ConfigMap # mine\ndata: {on: y, t: 12:30,\n  d: 2024-01-01}\n...\n---\n"
        f"{yaml.dump(workload('Deployment', {'template': {'spec': {'containers': [{'name': 'a'}]}}}))}---\n- 1\n"
    )
    printed = inject(text).printed
    assert printed.startswith("kind: ConfigMap # mine\ndata: {on: y, t: 12:30,\n  d: 2024-01-01}\n---\napiVersion")
    assert printed.endswith("\n---\n- 1\n")
    assert inject("").printed == ""


@pytest.mark.parametrize(
    "text, printed",
    [
        pytest.param("# whose\n\nkind: A\n---\nkind: B\n", "# whose\n\nkind: A\n---\nkind: B\n", id="comments first"),
        pytest.param("# whose\n--- # mine\nkind: A\n", "# whose\n# mine\nkind: A\n", id="comments before a mark"),
        pytest.param("\ufeffkind: A\r\n---\r\nkind: B\r\n", "kind: A\n---\nkind: B\n", id="CRLF and BOM"),
        pytest.param("kind: A\n---\n\ufeffkind: B\n", "kind: A\n---\nkind: B\n", id="files put together"),
        pytest.param("kind: A\n\ufeff---\nkind: B\n", "kind: A\n---\nkind: B\n", id="with marks before them"),
        pytest.param('\ufeff{"a": 1}\n\ufeff{"b": 2}', '{"a": 1}\n---\n{"b": 2}\n', id="JSON put together"),
        pytest.param("a: |+\n  x\n\n---\nkind: B", "a: |+\n  x\n\n---\nkind: B\n", id="empty lines that are text"),
        pytest.param("%YAML 1.1\n---\nkind: A\n...\n%YAML 1.1\n---\nb: 1\n", "kind: A\n---\nb: 1\n", id="directives"),
        pytest.param('{"a": 1e3}\n{"b": [\n]}\n"c"', '{"a": 1e3}\n---\n{"b": [\n]}\n---\n"c"\n', id="JSON"),
    ],
)
def test_markers_between_documents_are_written_again(text: str, printed: str) -> None:
    """What is of a document stays, what parts it from others is made anew."""
    assert inject(text).printed == printed


def test_printed_json_can_be_injected_again() -> None:
    """Several documents of JSON, as they are printed, are what they were."""
    documents = "\n---\n".join((json.dumps(account()), json.dumps(pod(serviceAccountName="app")), "- 1", "text"))
    printed = inject(documents, "-o", "json").printed
    assert printed.count("AZURE_CLIENT_ID") == 1
    assert inject(printed, "-o", "json").printed == printed
    assert '"n": 1000,' in inject('{"n": 1e3, "m": 0.5}{"n": 1e3}', "-o", "json").printed


def test_keys_are_text() -> None:
    """As for kubectl, which reads manifests into JSON."""
    text = f"{yaml.dump(pod())}novel: {{8080: a, on: b, n: c, 2.5: d, ~: e}}\n"
    novel = {"8080": "a", "true": "b", "false": "c", "2.5": "d", "null": "e"}
    assert json.loads(inject(text, "-o", "json").printed)["novel"] == novel
    printed = inject(text).printed
    assert "novel: {8080: a, on: b, n: c, 2.5: d, ~: e}\n" in printed
    assert json.loads(inject(printed, "-o", "json").printed)["novel"] == novel
    document = {**pod(), "novel": novel}
    assert yaml.safe_load(inject(json.dumps(document)).printed)["novel"] == novel


def test_messages_have_one_line_whatever_the_names_are() -> None:
    """Whatever an object is called, and whatever leads to its template."""
    document = workload("Set\n", {"a\nb": template()}, "example.dev/v1")
    ran = inject(json.dumps(document))
    assert ran.status == 1
    (line,) = ran.noted.splitlines()
    assert r"Set\n" in line
    assert r"/spec/a\nb" in line


def test_all_injects_templates_without_the_label() -> None:
    """Templates without the label are injected when asked for."""
    bare = workload("Deployment", {"template": {"spec": {"containers": [{"name": "app"}]}}})
    text = json.dumps(bare)
    assert "AZURE_TENANT_ID" not in inject(text).printed
    ran = inject(text, "--all")
    assert "AZURE_TENANT_ID" in ran.printed
    assert 'warning: Deployment "web" (document 1, /spec/template): the service account default has no' in ran.noted


def test_text_that_looks_like_another_type_is_quoted() -> None:
    """Whatever a reader of YAML 1.1, 1.2 or Go could take it for."""
    words = ["1e3", "0x1f", "0o17", "017", "12:30", "2024-01-01", "y", "No", "null", "~", "", " a", ".5", "+1", "1_0"]
    words += ["- a", "a: b", "a #b", "a:", "é", "two\nlines\n", "tab\tand\n more", "{", "=", "<<", "@a", "1.2.3", "e1"]
    document = pod({"name": "app", "args": words})
    ran = inject(json.dumps(document))
    assert ran.status == 0
    assert yaml.safe_load(ran.printed)["spec"]["containers"][0]["args"] == words
    for word in ("1e3", "0o17", "y"):  # PyYAML's own reader would take these for text without quotes
        assert f'- "{word}"\n' in ran.printed


@pytest.mark.parametrize(
    "text, value",
    [
        ("on", True),
        ("y", True),
        ("No", False),
        ("0755", 493),
        ("0o755", 493),
        ("-0x1F", -31),
        ("1_000", 1000),
        ("1e3", 1000),
        ("1e21", 1e21),
        (".5", 0.5),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ('"1e3"', "1e3"),
        ("1.2.3", "1.2.3"),
        ("0b11", 3),
        ("08", 8),
        ("1.", 1),
        ("1e400", "1e400"),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(text: str, value: object) -> None:
    """And written so that they are read as the same."""
    ran = inject(f"{yaml.dump(pod())}novel: {text}\n", "-o", "json")
    assert repr(json.loads(ran.printed)["novel"]) == repr(value)
    again = inject(inject(f"{yaml.dump(pod())}novel: {text}\n").printed, "-o", "json")
    assert json.loads(again.printed)["novel"] == value


def test_service_accounts_are_read_from_files_and_manifests(tmp_path: Path) -> None:
    """By namespace and name; one among the manifests does as well."""
    file = tmp_path / "accounts.yaml"
    file.write_text(yaml.dump({"kind": "List", "items": [account(), account("other", client_id="other")]}))
    document = json.dumps(pod(serviceAccountName="app"))
    assert "6a1d0c9e" in inject(document, "--service-account", str(file)).printed
    ran = inject(json.dumps({**pod(serviceAccountName="app"), "metadata": template()["metadata"]}))
    assert ran.status == 1
    assert 'its service account "app" in the namespace "default" is unknown: add it to the manifests' in ran.noted
    ran = inject(
        json.dumps({**pod(serviceAccount="app"), "metadata": template()["metadata"]}),
        "-n",
        "apps",
        "--service-account",
        str(file),
    )
    assert "6a1d0c9e" in ran.printed


def test_label_on_the_account_only_causes_a_warning() -> None:
    """Is a mistake that a manifest shows."""
    document = {**pod(serviceAccountName="app"), "metadata": {"name": "web"}}
    ran = inject(f"{ACCOUNT}\n---\n{json.dumps(document)}")
    assert "AZURE_CLIENT_ID" not in ran.printed
    assert 'Pod "web" (document 2): service account app asks for an identity, but' in ran.noted


@pytest.mark.parametrize(
    "text, status, said",
    [
        pytest.param("a: [", 1, "standard input is not YAML: ", id="no YAML"),
        pytest.param("a: !!python/name:os.system x", 1, "could not determine a constructor", id="a tag"),
        pytest.param(
            f"{yaml.dump(pod())}novel: &a [*a]",
            1,
            "input is nested too deeply, in document 1",
            id="a reference to itself",
        ),
        pytest.param("[" * 5000, 1, "standard input is nested too deeply", id="too deep"),
        pytest.param("a: \x00", 1, "is not YAML: character 4 is U+0000, which YAML does not allow", id="a character"),
        pytest.param(
            json.dumps(with_sidecar(hostNetwork=True)),
            1,
            'Pod "web" (document 1): the pod uses the node\'s network (hostNetwork), where the sidecar would serve '
            "the whole node: leave out hostNetwork",
            id="refused",
        ),
        pytest.param(
            f"{json.dumps(pod())}\n---\n{json.dumps(pod({'name': 7}))}",
            1,
            'Pod "web" (document 2): /spec/containers/0/name is not a string',
            id="the second of two",
        ),
    ],
)
def test_invalid_manifest_is_refused_with_its_document(text: str, status: int, said: str) -> None:
    """Nothing is printed, and one line says which document it is."""
    ran = inject(text)
    assert (ran.status, ran.printed) == (status, "")
    assert said in ran.noted
    assert ran.noted.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("novel", ["&a [*a]", ".inf", ".nan"])
def test_values_that_json_lacks_are_refused(novel: str) -> None:
    """It is refused, not printed as something else."""
    ran = inject(f"{yaml.dump(pod())}novel: {novel}\n", "-o", "json")
    assert (ran.status, ran.printed) == (1, "")
    assert any(each in ran.noted for each in ("nested too deeply", "not JSON compliant"))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    """They are named."""
    file = tmp_path / "latin"
    file.write_bytes(b"\xff")
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "is a directory"), (file, "it is not UTF-8")):
        ran = run(wisp, "inject", "-f", str(path), "--tenant-id", "t")
        assert ran.status == 2
        assert f"cannot read {str(path)!r}: {said}" in ran.noted


def test_example_in_the_documentation_is_injected_without_a_warning() -> None:
    """The manifest of docs/reference/admission.md is injected as it stands, without a warning."""
    text = (ROOT / "docs/reference/admission.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    ran = inject(text, "--server-version", "1.34")
    assert (ran.status, ran.noted) == (0, "")
    _, after = yaml.safe_load_all(ran.printed)
    assert [each["name"] for each in after["spec"]["initContainers"]] == ["azwi-proxy-init", "azwi-proxy"]


def test_many_comments_with_crlf_take_linear_time() -> None:
    """Comments before a document stay, however many there are: their number must not double the work each time."""
    licence = "# line\r\n\r\n" * 200
    text = f"{licence}apiVersion: v1\r\nkind: ConfigMap\r\n"
    assert inject(text).printed == text.replace("\r\n", "\n")


def test_number_too_long_for_python_is_text() -> None:
    """It is text, as other numbers that are too large."""
    digits = "9" * 5000
    assert json.loads(inject(f"kind: ConfigMap\ndata: {digits}\n", "-o", "json").printed)["data"] == digits
