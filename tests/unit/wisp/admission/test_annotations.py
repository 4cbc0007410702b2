"""Recognition of misspelled labels and annotations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.admission.pods import PREFIX
from tests.unit.wisp.admission.test_warnings import unlabelled
from wisp.admission.annotations import ON_ACCOUNTS, ON_PODS, USE, correct_spelling, known_key
from wisp.admission.warnings import warnings_about_unlabelled


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
def test_misspelled_label_is_recognised(key: str) -> None:
    """It is recognised under labels and under annotations."""
    assert correct_spelling(key) == USE
    (similar,) = warnings_about_unlabelled(unlabelled("labels", {key: "true"})["metadata"], {})
    assert similar.endswith(f"is misspelled: write {USE}")
    assert any(
        USE in warning
        for warning in warnings_about_unlabelled(unlabelled("annotations", {key: "true"})["metadata"], {})
    )


@pytest.mark.parametrize("known", sorted((ON_PODS | ON_ACCOUNTS) - {USE}))
def test_misspelled_annotation_is_recognised(known: str) -> None:
    suffix = known.removeprefix(PREFIX)
    for key in (
        f"azure.workload.identity.{suffix}",
        f"azure.workloadidentity/{suffix}",
        f"{PREFIX}{suffix.upper()}",
        f"{PREFIX}{suffix.replace('-', '_')}",
        f"{PREFIX}{suffix.replace('-', '')}",
    ):
        if key != known:
            assert correct_spelling(key) == known


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
def test_correct_and_unrelated_keys_are_not_misspelled(key: str) -> None:
    assert correct_spelling(key) is None


@given(st.text(max_size=80))
def test_any_key_means_at_most_one_known_key(key: str) -> None:
    assert known_key(key) in (None, key, USE, *ON_PODS, *ON_ACCOUNTS)
