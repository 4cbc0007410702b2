"""Pods on Windows: every way to select Windows, and the sidecar that is refused there."""

import json
from typing import Any

import pytest
from hypothesis import given

from tests.unit.wisp.admission.pods import (
    JSON,
    NON_ROOT,
    POLICY,
    account,
    mutation,
    named,
    pod,
    read,
    review,
    variables,
    with_sidecar,
)
from tests.unit.wisp.cli.command import inject
from wisp.admission.mutate import mutate
from wisp.admission.pod import is_windows, may_be_windows, read_decoded
from wisp.admission.review import Refuse, decide
from wisp.admission.types import PodError

OS, OLD_OS, BUILD = "kubernetes.io/os", "beta.kubernetes.io/os", "node.kubernetes.io/windows-build"
SKU = "kubernetes.azure.com/os-sku"


def requirement(operator: str, *values: str, key: str = OS) -> dict[str, Any]:
    """Return a requirement on a node label."""
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def required(*terms: list[dict[str, Any]] | dict[str, Any]) -> dict[str, Any]:
    """Return a spec with a required node affinity of these terms: each is a list of requirements or a whole term."""
    whole = [{"matchExpressions": term} if isinstance(term, list) else term for term in terms]
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": whole}}
    return {"affinity": {"nodeAffinity": rule}}


def preferred(*expressions: dict[str, Any]) -> dict[str, Any]:
    """Return a spec with a preferred node affinity."""
    rule = [{"weight": 1, "preference": {"matchExpressions": list(expressions)}}]
    return {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": rule}}}


OTHER = requirement("In", "a", key="topology.kubernetes.io/zone")
FIELDS = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}

WINDOWS: dict[str, dict[str, Any]] = {
    "os": {"os": {"name": "windows"}},
    "os with a capital": {"os": {"name": "Windows"}},
    "node selector": {"nodeSelector": {OS: "windows"}},
    "node selector with a capital": {"nodeSelector": {OS: "Windows"}},
    "old node selector": {"nodeSelector": {OLD_OS: "windows"}},
    "Windows build": {"nodeSelector": {BUILD: "10.0.20348"}},
    "AKS' SKU": {"nodeSelector": {SKU: "Windows2022"}},
    "OpenShift's system": {"nodeSelector": {"node.openshift.io/os_id": "Windows"}},
    "GKE's distribution": {"nodeSelector": {"cloud.google.com/gke-os-distribution": "windows_ltsc"}},
    "affinity": required([requirement("In", "windows")]),
    "affinity with a capital": required([requirement("In", "Windows")]),
    "affinity by the old label": required([requirement("In", "windows", key=OLD_OS)]),
    "affinity not to Linux": required([requirement("NotIn", "linux")]),
    "affinity to a build": required([requirement("Exists", key=BUILD)]),
    "affinity to one build": required([requirement("In", "10.0.20348", key=BUILD)]),
    "affinity to SKUs": required([requirement("In", "Windows2019", "Windows2022", key=SKU)]),
    "affinity, with another requirement": required([OTHER, requirement("In", "windows")]),
    "affinity, with fields": required({**FIELDS, "matchExpressions": [requirement("In", "windows")]}),
    "every term": required([requirement("In", "windows"), OTHER], [requirement("NotIn", "linux")]),
    "every term that matches a node": required([requirement("In", "windows")], [], [requirement("In", "plan9")]),
    "both requirements": required([requirement("In", "linux", "windows"), requirement("NotIn", "linux")]),
    "Windows by os, Linux by node selector": {"os": {"name": "windows"}, "nodeSelector": {OS: "linux"}},
    "Windows options of the pod": {"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}},
    "host process": {"securityContext": {"windowsOptions": {"hostProcess": True}}},
    "Windows options of a container": {
        "containers": [{"name": "app", "securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "x"}}}]
    },
    "Windows options of an init container": {
        "initContainers": [{"name": "setup", "securityContext": {"windowsOptions": {"hostProcess": True}}}]
    },
}
BOTH: dict[str, dict[str, Any]] = {
    "either": required([requirement("In", "linux", "windows")]),
    "terms of either": required([requirement("In", "linux")], [requirement("In", "windows")]),
    "a term about something else": required([requirement("In", "windows")], [OTHER]),
    "a term of fields": required([requirement("In", "windows")], FIELDS),
    "SKUs of either": required([requirement("In", "AzureLinux", "Windows2022", key=SKU)]),
    "preferred": preferred(requirement("In", "windows")),
    "preferred not to Linux": preferred(requirement("NotIn", "linux")),
}
LINUX: dict[str, dict[str, Any]] = {
    "nothing": {},
    "os": {"os": {"name": "linux"}},
    "node selector": {"nodeSelector": {OS: "linux"}},
    "another selector": {"nodeSelector": {"pool": "windows"}},
    "AKS' SKU": {"nodeSelector": {SKU: "AzureLinux"}},
    "affinity": required([requirement("In", "linux")]),
    "affinity not to Windows": required([requirement("NotIn", "windows")]),
    "affinity to no build": required([requirement("DoesNotExist", key=BUILD)]),
    "affinity not to a SKU": required([requirement("NotIn", "Windows2019", key=SKU)]),
    "affinity to a label that every node has": required([requirement("Exists")]),
    "affinity to no system": required([requirement("DoesNotExist")]),
    "no term": required(),
    "an empty term": required([]),
    "either, and a selector": {**required([requirement("In", "linux", "windows")]), "nodeSelector": {OS: "linux"}},
    "preferred, and a selector": {**preferred(requirement("In", "windows")), "nodeSelector": {OS: "linux"}},
    "another system": required([requirement("In", "plan9")]),
    "Windows options on Linux": {
        "securityContext": {**NON_ROOT, "windowsOptions": {"runAsUserName": "a"}},
        "nodeSelector": {OS: "linux"},
    },
    "no Windows option": {"securityContext": {**NON_ROOT, "windowsOptions": {"hostProcess": False}}},
    "a toleration": {"tolerations": [{"key": "os", "value": "windows", "effect": "NoSchedule"}]},
    "a runtime class": {"runtimeClassName": "windows-2022"},
}


@pytest.mark.parametrize("name", WINDOWS)
def test_sidecar_on_windows_is_refused(name: str) -> None:
    """The webhook and `wisp inject` both refuse it; without the sidecar the pod gets its identity."""
    spec = WINDOWS[name]
    decision = decide(read(review(with_sidecar(**spec))), account(), POLICY)
    assert isinstance(decision, Refuse)
    assert "the pod runs on Windows, where there is no sidecar" in decision.message
    ran = inject(json.dumps(with_sidecar(**spec)))
    assert (ran.status, ran.stdout) == (1, "")
    assert 'Pod "web" (document 1): the pod runs on Windows' in ran.stderr
    assert variables(named(mutate(pod(**spec), account(), POLICY), "app"))["AZURE_FEDERATED_TOKEN_FILE"]


@pytest.mark.parametrize("name", BOTH)
def test_sidecar_that_may_run_on_windows_causes_a_warning(name: str) -> None:
    """The pod may also run on Linux, so it gets the sidecar."""
    done = mutation(with_sidecar(**BOTH[name]), account(), POLICY)
    assert [warning.partition(",")[0] for warning in done.warnings] == ["the pod may run on Windows nodes"]
    assert mutation(pod(**BOTH[name]), account(), POLICY).warnings == ()


@pytest.mark.parametrize("name", LINUX)
def test_sidecar_on_linux_causes_no_warning(name: str) -> None:
    done = mutation(with_sidecar(**LINUX[name]), account(), POLICY)
    assert (bool(done.operations), done.warnings) == (True, ())


@given(JSON, JSON)
def test_any_spec_is_decided(first: Any, second: Any) -> None:
    """A spec that an API server would reject is rejected, or does not ask for Windows."""
    rule = {
        "requiredDuringSchedulingIgnoredDuringExecution": first,
        "preferredDuringSchedulingIgnoredDuringExecution": first,
    }
    terms = required(
        [{"key": OS, "operator": "In", "values": first}], {"matchExpressions": second, "matchFields": first}
    )
    for spec in (
        {"affinity": first, "os": second, "nodeSelector": first},
        {"affinity": {"nodeAffinity": rule}, "securityContext": second},
        {**terms, "containers": [{"securityContext": first}], "nodeSelector": {OS: second, SKU: first}},
    ):
        try:
            read_spec = read_decoded({"spec": spec}).spec
        except PodError:
            continue
        assert not (is_windows(read_spec) and may_be_windows(read_spec))
