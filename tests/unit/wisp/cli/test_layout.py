"""`wisp inject` keeps comments and layout: it inserts lines, and the result is the mutated document."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.wisp.admission.pods import ACCOUNTS, PODS, POLICIES, account, mutation
from tests.unit.wisp.admission.test_properties import anyhow
from tests.unit.wisp.cli.command import inject
from wisp.admission.patch import apply
from wisp.admission.policy import Policy
from wisp.cli.manifests import as_yaml, changed_yaml, read_documents

ACCOUNT = f"{yaml.dump(account())}---\n"
PLAIN = """\
# Who this is for.
apiVersion: v1
kind: Pod

metadata:   # of the pod
  name: web
  namespace: apps
  labels: { azure.workload.identity/use: "true", team: 'a' }   # a flow map
spec:
  serviceAccountName: app
  securityContext: {runAsNonRoot: true}
  containers:
  # The application.
  - name: app
    image: "app:1"
    args: [ -c,  "sleep 1" ]
    env:
    - name: A     # the first
      value: 'yes'
    # - name: B
    #   value: b

    # Where it listens.
    ports:
    - containerPort: 8080
    command:
    - |
      echo "# not a comment"
        indented
    - >-
      folded
      text
  restartPolicy: Always

# The end.
"""
INDENTED = """\
kind: Pod
metadata:
    name: web
    namespace: apps
    labels:
        azure.workload.identity/use: "true"
    annotations:
        azure.workload.identity/inject-proxy-sidecar: "true"
spec:
    serviceAccountName: app
    securityContext:
        runAsNonRoot: true
    containers:
        # The application.
        - name: app
          env:
              - name: A
                value: b
"""
TYPES = """\
kind: Pod
metadata: {name: web, namespace: apps, labels: {azure.workload.identity/use: 'true'}}
spec:
  serviceAccountName: app
  containers:
  - name: app
novel:
  a: yes
  on: off
  b: 0o17
  c: 0755
  d: 1e3
  e: 12:30
  f: 2024-01-01
  g: ~
  h:
  i: 1_000
  j: .5
  8080: x
  k: "on"
  l: !!str 5
"""
ANCHORS = """\
kind: Set
apiVersion: example.dev/v1
metadata: {name: web, namespace: apps}
spec:
  # Written once.
  first: &template
    metadata: {labels: {azure.workload.identity/use: "true"}}
    spec:
      serviceAccountName: app
      containers: &containers
      - name: app
  second: *template
  image: &image "a:1"
  other: *image
"""
HELM = """\
# Source: shop/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: apps
spec:
  template:
    metadata:
      labels:
        azure.workload.identity/use: "true"
    spec:
      serviceAccountName: app
      securityContext:
        {}
      containers:
        - name: shop
          image: "nginx:1.16.0"
          imagePullPolicy:   IfNotPresent
          args: [a,
            b]
          resources:
            {}
"""
DOCUMENTS = {"helm": HELM, "plain": PLAIN, "indented": INDENTED, "types": TYPES, "anchors": ANCHORS}


def is_subsequence(lines: list[str], text: str) -> bool:
    """Check whether all lines are in a text, in this order."""
    rest = iter(text.splitlines())
    return all(line in rest for line in lines)


def injected(text: str) -> str:
    """Return a document after injection, without the service account in front of it."""
    ran = inject(ACCOUNT + text, "--server-version", "1.34")
    assert (ran.status, ran.stderr) == (0, "")
    return ran.stdout.partition("---\n")[2]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_injection_only_inserts_lines(name: str) -> None:
    """Every line of the document is there, byte for byte and in its order; a second injection changes nothing."""
    text = DOCUMENTS[name]
    after = injected(text)
    assert is_subsequence(text.splitlines(), after)
    assert len(after) > len(text)
    assert injected(after) == after


@pytest.mark.parametrize("name", DOCUMENTS)
def test_yaml_and_json_output_have_the_same_content(name: str) -> None:
    (before,) = read_documents(DOCUMENTS[name], "")
    as_json = inject(ACCOUNT + DOCUMENTS[name], "--server-version", "1.34", "-o", "json").stdout
    again = [document.content for document in read_documents(injected(DOCUMENTS[name]), "")]
    assert again == [list(read_documents(as_json, ""))[1].content]
    assert again[0].get("novel") == before.content.get("novel")


def test_comments_stay_before_the_lines_they_preceded() -> None:
    """New variables and containers come before the comments of what follows."""
    after = injected(PLAIN)
    assert "      value: 'yes'\n    - name: AZURE_CLIENT_ID" in after
    assert "    # - name: B\n    #   value: b\n\n    # Where it listens.\n    ports:\n" in after
    assert after.endswith("          expirationSeconds: 3600\n\n# The end.\n")
    indented = injected(INDENTED)
    assert "        # The application.\n        - name: app\n" in indented
    assert "    initContainers:\n        - name: azwi-proxy-init\n          image: wisp:" in indented


def test_comment_stays_with_its_container_when_another_is_inserted_before() -> None:
    """An ordinary sidecar is the first container; the comment of the application stays above the application."""
    after = inject(ACCOUNT + INDENTED, "--server-version", "1.31").stdout
    assert "    containers:\n        - name: azwi-proxy\n" in after
    assert "        # The application.\n        - name: app\n" in after


@pytest.mark.parametrize("name", DOCUMENTS)
def test_crlf_line_ends_stay(name: str) -> None:
    """New lines end the same way."""
    (document,) = read_documents(DOCUMENTS[name].replace("\n", "\r\n"), "")
    operations: Any = [{"op": "add", "path": "/more", "value": [{"a": "b"}]}]
    text = changed_yaml(document, apply(document.content, operations), operations)
    assert text is not None
    assert text.count("\n") == text.count("\r\n") == DOCUMENTS[name].count("\n") + 2


def test_template_that_aliases_repeat_is_changed_once() -> None:
    """The alias stays, and both pods get the identity."""
    after = injected(ANCHORS)
    assert "  second: *template\n" in after
    assert after.count("expirationSeconds") == 1


def test_alias_for_templates_that_need_different_changes_is_expanded() -> None:
    """An alias that would also change an unlabelled template is replaced by its content."""
    text = ANCHORS.replace("  second: *template", "  second: {metadata: {}, spec: {containers: *containers}}")
    ran = inject(ACCOUNT + text)
    assert ran.stderr == "note: document 2 is printed without its comments, because its layout cannot be kept\n"
    (_, after) = read_documents(ran.stdout, "")
    assert after.content["spec"]["second"]["spec"] == {"containers": [{"name": "app"}]}
    assert "env" in after.content["spec"]["first"]["spec"]["containers"][0]


def test_unchanged_documents_and_separators_stay() -> None:
    """Only the document that changes is written again."""
    other = "kind:   ConfigMap\ndata: { a:   b }\n"
    ran = inject(f"{other}---\n{ACCOUNT}--- # the pod\n{PLAIN}...\n---\n{other}")
    assert ran.stdout.startswith(f"{other}---\n")
    assert ran.stdout.endswith(f"---\n{other}")
    assert "---\n# the pod\n# Who this is for.\n" in ran.stdout


ESCAPES = r"""list:
- "\_"   # a space that does not break
- "\x41\u00e9\/\tb"
- ["\n", "\N"]
- &anchor "two \
   lines"
- *anchor
"k\x65y": "\e"
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_escapes_stay_as_they_are_written(end: str) -> None:
    (document,) = read_documents(ESCAPES.replace("\n", end), "")
    operations: Any = [{"op": "add", "path": "/more", "value": "x"}]
    after = changed_yaml(document, apply(document.content, operations), operations)
    assert after is not None
    assert is_subsequence(document.text.splitlines(), after)


@settings(anyhow, max_examples=50)
@given(PODS, ACCOUNTS, POLICIES, st.integers(0, 2**32), st.sampled_from((2, 4)))
def test_any_pod_keeps_its_comments_and_gets_its_mutation(
    pod: dict[str, Any], service_account: dict[str, Any], policy: Policy, seed: int, indent: int
) -> None:
    """Comments may be anywhere between the lines; the printed document is the mutated pod."""
    lines = yaml.dump(pod, sort_keys=False, width=1 << 30, indent=indent).splitlines()
    comments = [f"# comment {number}" for number in range(len(lines)) if seed >> number % 32 & 1]
    for number, comment in enumerate(comments):
        lines.insert(2 * number + seed % 2, comment)
    text = "\n".join(lines) + "\n"
    try:
        assume(yaml.safe_load(text) == pod)  # a comment in a text of several lines is text
        (document,) = read_documents(text, "")
    except yaml.YAMLError:
        assume(False)  # noqa: FBT003 -- hypothesis' signature
    operations = mutation(document.content, service_account, policy).operations
    expected = apply(document.content, operations)
    after = changed_yaml(document, expected, operations) or as_yaml(expected)
    assert [json.dumps(found.content) for found in read_documents(after, "")] == [json.dumps(expected)]
    # Comments in what is removed are lost, and those within a key after a question mark.
    if all(operation["op"] == "add" for operation in operations) and "? " not in text:
        assert [line.strip() for line in after.splitlines() if line.strip().startswith("# comment")] == comments
        if not re.search(r"null|\[\]", text):  # these are replaced
            assert is_subsequence(lines, after)
