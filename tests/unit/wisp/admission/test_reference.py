"""Answers are those observed from azure-workload-identity v1.6.0, except for the deliberate differences."""

import base64
import json
from typing import Any

import pytest

from tests.unit.wisp.admission.differences import DIFFERENCES, Difference, committed, concerned, expected, table
from tests.unit.wisp.admission.observed import CASES, Case
from tests.unit.wisp.admission.pods import read
from tests.unit.wisp.admission.pointer import patched
from wisp.admission.mutate import mutate
from wisp.admission.review import answer, decide, required_account


def answered(case: Case) -> dict[str, Any]:
    """Return the webhook's answer to a case."""
    admission_review = read(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": case.name,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "namespace": case.pod["metadata"]["namespace"],
                "operation": "CREATE",
                "object": case.pod,
            },
        }
    )
    required = required_account(admission_review)
    assert required == ("parity", case.pod["spec"].get("serviceAccountName") or "default")
    response = answer(admission_review, decide(admission_review, case.account, case.policy))["response"]
    assert response.pop("uid") == case.name
    return dict(response)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answer_matches_the_reference_except_for_listed_differences(case: Case) -> None:
    """The patched pod is compared."""
    theirs, ours = expected(case), answered(case)
    assert ours["allowed"] is theirs["allowed"]
    if not theirs["allowed"]:
        assert ours["status"]["code"] == theirs["status"]["code"]
        assert "patch" not in ours
        return
    assert ours["patchType"] == "JSONPatch"
    assert patched(case.pod, json.loads(base64.b64decode(ours["patch"]))) == theirs["pod"]


MUTATED = [case for case in CASES if case.answer["allowed"] and expected(case)["allowed"]]


@pytest.mark.parametrize("case", MUTATED, ids=lambda case: case.name)
def test_pod_mutated_by_the_reference_is_completed(case: Case) -> None:
    """Volumes and containers have the same names, so those that the reference added are used."""
    assert case.account is not None
    pod = mutate(case.answer["pod"], case.account, case.policy)
    theirs, ours = case.answer["pod"]["spec"], pod["spec"]
    assert ours["volumes"] == theirs["volumes"]
    assert ours["containers"] == theirs["containers"]
    names = [container["name"] for container in ours.get("initContainers", [])]
    assert sorted(names) == sorted(container["name"] for container in theirs.get("initContainers", []))


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_every_listed_difference_occurs_in_an_observed_answer(difference: Difference) -> None:
    assert concerned(difference)


def test_table_of_differences_in_the_documentation_is_current() -> None:
    assert committed() == table()
    assert len(CASES) == 45
