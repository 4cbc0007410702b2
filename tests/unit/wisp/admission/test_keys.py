"""Labels and annotations that are almost right: what a pod's author hears from the webhook."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from tests.unit.wisp.admission.pods import JSON, POLICY, PREFIX, account, mutation, pod, read, review
from wisp.admission import keys
from wisp.admission.advice import LONGEST, advice_unlabelled, advice_unused
from wisp.admission.keys import intended, meaning
from wisp.admission.names import ON_ACCOUNTS, ON_PODS, USE
from wisp.admission.review import Admit, decide

DOCUMENT = ROOT / "docs/reference/admission.md"


def with_metadata(document: dict[str, Any], kind: str, values: dict[str, str]) -> dict[str, Any]:
    """Return an object with more labels or annotations."""
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, kind: {**metadata.get(kind, {}), **values}}}


def unlabelled(kind: str, values: dict[str, str]) -> dict[str, Any]:
    """Return a pod without the label."""
    document = pod()
    document["metadata"]["labels"] = {}
    return with_metadata(document, kind, values)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "LABEL_VALUE": (unlabelled("labels", {USE: "True"}), account(), 'is "True": only "true" counts'),
    "NO_LABEL": (
        unlabelled("annotations", {f"{PREFIX}skip-containers": "a", f"{PREFIX}inject-proxy-sidecar": "true"}),
        account(),
        "the annotation skip-containers has no effect: the pod has no label",
    ),
    "LABEL_AS_ANNOTATION": (with_metadata(pod(), "annotations", {USE: "true"}), account(), "the annotation use has"),
    "ANNOTATION_AS_LABEL": (
        with_metadata(pod(), "labels", {f"{PREFIX}tenant-id": "x"}),
        account(),
        "tenant-id has no effect: it is an annotation of the service account",
    ),
    "SIMILAR_LABEL": (
        with_metadata(pod(), "labels", {"azure.workload.identity.use": "true"}),
        account(),
        f"write {USE}",
    ),
    "SIMILAR_ANNOTATION": (
        with_metadata(pod(), "annotations", {"azure.workload.identity/skip-container": "a"}),
        account(),
        "write azure.workload.identity/skip-containers",
    ),
    "UNKNOWN_LABEL": (
        with_metadata(pod(), "labels", {f"{PREFIX}enabled": "true"}),
        account(),
        "the label enabled is unknown",
    ),
    "ON_POD": (pod(), account(inject_proxy_sidecar="true"), "the annotation inject-proxy-sidecar belongs on the pod"),
    "UNKNOWN_ON_ACCOUNT": (
        pod(),
        account(subscription_id="x"),
        "the annotation subscription-id of the service account",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_warning(name: str) -> None:
    """It is the only one about labels and annotations, and the pod is admitted."""
    document, who, said = CASES[name]
    decision = decide(read(review(document)), who, POLICY)
    assert isinstance(decision, Admit)
    warnings = [each for each in decision.warnings if "wants identities" not in each]
    assert [said in each for each in warnings] == [True]
    assert all(part in warnings[0] for part in getattr(keys, name).split("{}"))


def test_every_warning_is_tested_and_documented() -> None:
    """With what it is about replaced by an ellipsis."""
    texts = {name for name, value in vars(keys).items() if name.isupper() and type(value) is str}
    assert texts == {*CASES}
    documented = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in texts if getattr(keys, name).replace("{}", "…") not in documented] == []


@pytest.mark.parametrize(
    "key",
    [
        "azure.workload.identity.use",
        "azure.workload.identity/Use",
        "azure.workload.identity/USE",
        "Azure.Workload.Identity/use",
        "azure.workloadidentity/use",
        "azure.workload-identity/use",
        "azure-workload-identity/use",
        "azure_workload_identity/use",
        "azureworkloadidentity/use",
        "azure.workload.identity/uses",
        "azure.workload.identity/used",
        "azure.workload.identity/ use",
        "azure.workload.identiy/use",
        "azure.worklaod.identity/use",
        "azure.workload.identity.io/use",
        "azure.workload.identity.com/use",
        "azure.workload/use",
        "azure.identity/use",
        "workload.identity.azure/use",
        "workload-identity.azure.com/use",
        "azure/workload.identity.use",
    ],
)
def test_a_misspelled_label(key: str) -> None:
    """It is told from others, under labels and under annotations."""
    assert intended(key) == USE
    (similar,) = advice_unlabelled(unlabelled("labels", {key: "true"})["metadata"], {})
    assert similar.endswith(f"is misspelled: write {USE}")
    assert any(USE in each for each in advice_unlabelled(unlabelled("annotations", {key: "true"})["metadata"], {}))


@pytest.mark.parametrize("known", sorted((ON_PODS | ON_ACCOUNTS) - {USE}))
def test_a_misspelled_annotation(known: str) -> None:
    """Whichever it is."""
    suffix = known.removeprefix(PREFIX)
    for key in (
        f"azure.workload.identity.{suffix}",
        f"azure.workloadidentity/{suffix}",
        f"{PREFIX}{suffix.upper()}",
        f"{PREFIX}{suffix.replace('-', '_')}",
        f"{PREFIX}{suffix.replace('-', '')}",
    ):
        if key != known:
            assert intended(key) == known


@pytest.mark.parametrize(
    "key",
    [
        USE,
        *sorted(ON_PODS | ON_ACCOUNTS),
        f"{PREFIX}use-binding",
        "app",
        "use",
        "app.kubernetes.io/name",
        "azure-workload-identity",
        "azure-workload-identity.io/system",
        "azure.workload.identity/enabled",
        "kubernetes.azure.com/use",
        "kubernetes.azure.com/managedby",
        "aadpodidbinding",
        "iam.gke.io/gcp-service-account",
        "identity.example.com/client-id",
        "workload-identity.example.com/client-id",
        "x" * 300,
        f"{PREFIX}{'use' * 50}",
        "",
        "/",
    ],
)
def test_a_key_that_is_none_of_ours_or_right(key: str) -> None:
    """It is not taken for a misspelled one."""
    assert intended(key) is None


@given(st.text(max_size=80))
def test_any_key(key: str) -> None:
    """It means at most one known key."""
    assert meaning(key) in (None, key, USE, *ON_PODS, *ON_ACCOUNTS)


@given(JSON, JSON)
def test_any_metadata(pods: Any, accounts: Any) -> None:
    """Whatever an unlabelled pod and its account say, warnings are short."""
    for metadata in (pods, {"labels": pods, "annotations": accounts}):
        for warnings in (
            advice_unlabelled(metadata, {"metadata": accounts}),
            advice_unused({"metadata": metadata}),
        ):
            assert all(len(each) <= LONGEST and each.isprintable() for each in warnings)


@pytest.mark.parametrize("key", [f"{PREFIX}{'x' * 60}", f"{PREFIX}service-account-token-expiratio"])
def test_warnings_are_short(key: str) -> None:
    """However long a key is."""
    for kind in ("labels", "annotations"):
        warnings = mutation(with_metadata(pod(), kind, {key: "1"}), with_metadata(account(), kind, {key: "1"}), POLICY)
        assert len(warnings.warnings) == 2
        assert all(len(each) <= LONGEST for each in warnings.warnings)


def test_an_account_of_a_pod_that_is_labelled() -> None:
    """The label on a service account has no effect, but older guides put it there: nothing is said."""
    assert mutation(pod(), with_metadata(account(), "labels", {USE: "true"}), POLICY).warnings == ()
