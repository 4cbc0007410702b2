"""Deliberate differences from azure-workload-identity v1.6.0; each one turns its answer into the expected one.

`python -m tests.unit.wisp.admission.differences --write` puts the table into docs/reference/webhook-differences.md;
without --write it is printed.
"""

import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple, TypeAlias

from tests.support.paths import ROOT
from tests.unit.wisp.admission.observed import CASES, Case
from wisp.admission.policy import REDIRECT_RESOURCES, SIDECAR_RESOURCES, Resources

PATH = ROOT / "docs/reference/webhook-differences.md"
BEGIN, END = "<!-- differences: begin -->\n", "<!-- differences: end -->\n"
SIDECAR, REDIRECT = "azwi-proxy", "azwi-proxy-init"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

Answer: TypeAlias = dict[str, Any]


class Difference(NamedTuple):
    """One deliberate difference."""

    name: str
    theirs: str
    ours: str
    why: str
    change: Callable[[Case, Answer], None]
    """Apply the difference to the reference's answer, if it concerns the case."""


def expected(case: Case) -> Answer:
    """Return the expected answer: the reference's, with every difference applied."""
    return after(case, len(DIFFERENCES))


def after(case: Case, count: int) -> Answer:
    """Return the reference's answer with the first `count` differences applied."""
    answer = deepcopy(case.answer)
    for difference in DIFFERENCES[:count]:
        difference.change(case, answer)
    return answer


def concerned(difference: Difference) -> list[str]:
    """Return the names of the cases whose answer a difference changes."""
    place = DIFFERENCES.index(difference)
    return [case.name for case in CASES if after(case, place) != after(case, place + 1)]


def table() -> str:
    """Return the differences as a Markdown table."""
    head = "| difference | azure-workload-identity v1.6.0 | wisp | why | cases |\n|---|---|---|---|---|\n"
    rows = [(*difference[:4], str(len(concerned(difference)))) for difference in DIFFERENCES]
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _container(answer: Answer, name: str) -> dict[str, Any] | None:
    spec = answer.get("pod", {}).get("spec", {})
    found = [
        container
        for key in ("initContainers", "containers")
        for container in spec.get(key, [])
        if container["name"] == name
    ]
    return found[0] if found else None


def _made(case: Case, answer: Answer, name: str) -> dict[str, Any] | None:
    """Return the container if the webhook added it; None if the pod already had it, or if there is none."""
    spec = case.pod["spec"]
    own_names = [container["name"] for key in ("initContainers", "containers") for container in spec.get(key, [])]
    return None if name in own_names else _container(answer, name)


def _says_no(case: Case, answer: Answer) -> None:
    annotations = case.pod["metadata"].get("annotations", {})
    if annotations.get("azure.workload.identity/inject-proxy-sidecar") == "false":
        del answer["pod"]["spec"]["initContainers"]


def _port(case: Case, answer: Answer) -> None:
    if case.pod["metadata"].get("annotations", {}).get("azure.workload.identity/proxy-sidecar-port") == "70000":
        answer.clear()
        answer.update({"allowed": False, "status": {"code": 400, "message": "70000"}})


def _texts(_case: Case, answer: Answer) -> None:
    if not answer["allowed"]:
        del answer["status"]["message"]


def _order(_case: Case, answer: Answer) -> None:
    present = answer.get("pod", {}).get("spec", {}).get("initContainers", [])
    present.sort(key=lambda container: (container["name"] != REDIRECT, container["name"] != SIDECAR))


def _redirect_runs(case: Case, answer: Answer) -> None:
    redirect = _made(case, answer, REDIRECT)
    if redirect is not None:
        (port,) = [variable["value"] for variable in redirect["env"] if variable["name"] == "PROXY_PORT"]
        redirect["args"] = ["redirect", "up", f"--proxy-port={port}"]
        redirect["env"] = [variable for variable in redirect["env"] if variable["name"] != "PROXY_PORT"]


def _redirect_knows(_case: Case, answer: Answer) -> None:
    redirect = _container(answer, REDIRECT)
    if redirect is not None:
        redirect.pop("env", None)
        redirect.pop("volumeMounts", None)


def _redirect_may(case: Case, answer: Answer) -> None:
    redirect = _made(case, answer, REDIRECT)
    if redirect is not None:
        redirect["securityContext"] |= {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def _sidecar_may(case: Case, answer: Answer) -> None:
    sidecar = _made(case, answer, SIDECAR)
    if sidecar is not None:
        user = {"runAsUser": 1501, "runAsGroup": 1501}
        sidecar["securityContext"] |= {**user, "seccompProfile": {"type": "RuntimeDefault"}}


def _sidecar_command(case: Case, answer: Answer) -> None:
    sidecar = _made(case, answer, SIDECAR)
    if sidecar is not None:
        sidecar["command"] = ["/proxy"]


def _resources(case: Case, answer: Answer) -> None:
    for name, usual in ((SIDECAR, SIDECAR_RESOURCES), (REDIRECT, REDIRECT_RESOURCES)):
        container = _made(case, answer, name)
        if container is not None:
            container["resources"] = _as_kubernetes_has_them(usual)


def _as_kubernetes_has_them(usual: Resources) -> dict[str, dict[str, str | None]]:
    return {
        "requests": {"cpu": usual.cpu_request, "memory": usual.memory_request},
        "limits": {"cpu": usual.cpu_limit, "memory": usual.memory_limit},
    }


def _says(case: Case, answer: Answer) -> None:
    for name in (SIDECAR, REDIRECT):
        container = _made(case, answer, name)
        if container is not None:
            container["terminationMessagePolicy"] = "FallbackToLogsOnError"


def _default_container(_case: Case, answer: Answer) -> None:
    if _container(answer, SIDECAR) is not None:
        answer["pod"]["metadata"]["annotations"][DEFAULT_CONTAINER] = answer["pod"]["spec"]["containers"][0]["name"]


def _kept(case: Case, answer: Answer) -> None:
    for before, after_ in zip(
        case.pod["spec"]["containers"], answer.get("pod", {"spec": {}})["spec"].get("containers", []), strict=False
    ):
        for variable, result in zip(before.get("env", []), after_.get("env", []), strict=False):
            result.update(variable)


DIFFERENCES = (
    Difference(
        "disabling the sidecar",
        'any value of `inject-proxy-sidecar` enables the sidecar, including `"false"`',
        "a value that Go's `strconv.ParseBool` reads as false disables it, with a warning",
        '`"false"` is written to disable it',
        _says_no,
    ),
    Difference(
        "an invalid port",
        "a `proxy-sidecar-port` of 70000 is added to the pod, and the API server rejects the container",
        "the pod is refused with a message that names the annotation",
        "the message names what the user wrote",
        _port,
    ),
    Difference(
        "messages of refusals",
        'the text of the internal error, such as `strconv.ParseInt: parsing "x": invalid syntax`',
        "what is wrong, in which field, and what to do",
        "users see only this message",
        _texts,
    ),
    Difference(
        "order of the init containers",
        "sidecar, the pod's own, redirect",
        "redirect, sidecar, the pod's own",
        "the pod's own init containers get the pod's identity and not the node's",
        _order,
    ),
    Difference(
        "the redirect's port",
        "the variable `PROXY_PORT`",
        "the arguments `redirect up --proxy-port=PORT`",
        "the same image is used for all commands",
        _redirect_runs,
    ),
    Difference(
        "identity of the redirect container",
        "it gets the token and the Azure variables, like every container",
        "it gets neither, even if the pod itself contains it",
        "it does not need them",
        _redirect_knows,
    ),
    Difference(
        "privileges of the redirect container",
        "privileged",
        "NET_ADMIN; read-only root, no privilege escalation, seccomp RuntimeDefault",
        "it needs nothing else",
        _redirect_may,
    ),
    Difference(
        "user of the sidecar",
        "the image's user, or the pod's `runAsUser`",
        "user and group 1501, seccomp RuntimeDefault",
        "the redirect exempts user 1501, whatever the pod sets; Pod Security `restricted` requires the profile",
        _sidecar_may,
    ),
    Difference(
        "command of the sidecar",
        "the image's entry point",
        "`/proxy`",
        "the same image is used for all commands, and the reference image also has this path",
        _sidecar_command,
    ),
    Difference(
        "resources",
        "none",
        "requests and limits, from the cluster's settings and the pod's annotations",
        "namespaces with a ResourceQuota refuse pods without them",
        _resources,
    ),
    Difference(
        "a container that cannot start",
        "the pod's status has the exit status; the reason is only in the log",
        "`terminationMessagePolicy: FallbackToLogsOnError`: `kubectl describe pod` shows the error message",
        "users look there first, and reading the log of an init container requires its name",
        _says,
    ),
    Difference(
        "the default container",
        "not set",
        f"`{DEFAULT_CONTAINER}` names the pod's own first container, unless it is set",
        "`kubectl exec` and `kubectl logs` continue to use that container, without a message about the others",
        _default_container,
    ),
    Difference(
        "existing fields of the pod",
        "decoded into the types that it was built with and encoded again: unknown fields and empty values are lost",
        "the patch contains only the additions",
        "pods may have fields that are newer than the webhook",
        _kept,
    ),
)


def committed() -> str:
    """Return the table in the documentation."""
    return PATH.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]


if __name__ == "__main__":
    if "--write" in sys.argv:
        head, _, rest = PATH.read_text(encoding="utf-8").partition(BEGIN)
        PATH.write_text(f"{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}", encoding="utf-8")
    else:
        sys.stdout.write(table())
