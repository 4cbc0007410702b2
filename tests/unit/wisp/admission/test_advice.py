"""Every warning: what it is about, and what it is not."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.unit.wisp.admission.pods import OLD_POLICY, POLICY, account, mutation, pod, with_sidecar
from wisp.admission import advice
from wisp.admission.contract import Policy, TokenEndpoint
from wisp.admission.mutate import mutate

DOCUMENT = ROOT / "docs/reference/admission.md"
SETUP = {"name": "setup", "image": "setup:1"}
ENDPOINT = TokenEndpoint(suffix="binding", audience="api://binding", url="https://proxy.test/")
ENV = {"inject-proxy-mode": "env"}
ONLY = {"inject-proxy-only": "true"}
APP = {"name": "app", "image": "app:1"}


def warned(document: dict[str, Any], who: dict[str, Any] | None = None, policy: Policy = POLICY) -> tuple[str, ...]:
    """Return the warnings about a pod."""
    return mutation(document, account() if who is None else who, policy).warnings


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], Policy]] = {
    "SAYS_NO": ('is "F": no sidecar', pod(annotations={"inject-proxy-sidecar": "F"}), account(), POLICY),
    "NO_CLIENT_ID": ("the service account app has no", pod(), account(client_id=""), POLICY),
    "NO_GUID": ('client-id "my-app" of', pod(), account(client_id="my-app"), POLICY),
    "NO_TENANT": ('tenant-id "my tenant" of', pod(), account(tenant_id="my tenant"), POLICY),
    "BOTH": (
        "the pod's counts",
        pod(annotations={"service-account-token-expiration": "7200"}),
        account(service_account_token_expiration="7201"),
        POLICY,
    ),
    "UNKNOWN_SKIPPED": ("names ghost, which", pod(annotations={"skip-containers": "ghost;"}), account(), POLICY),
    "ALL_SKIPPED": ("every container", pod(annotations={"skip-containers": "app"}), account(), POLICY),
    "SIDECAR_SKIPPED": (
        "names azwi-proxy",
        with_sidecar(annotations={"skip-containers": "azwi-proxy"}),
        account(),
        POLICY,
    ),
    "NO_EFFECT": ("the annotation proxy-sidecar-port", pod(annotations={"proxy-sidecar-port": "1"}), account(), POLICY),
    "UNKNOWN": ("the annotation inject-proxy is", pod(annotations={"inject-proxy": "true"}), account(), POLICY),
    "ON_ACCOUNT": ("the annotation client-id belongs", pod(annotations={"client-id": "x"}), account(), POLICY),
    "NO_ENDPOINT": ("use-binding asks", pod(annotations={"use-binding": "true"}), account(), POLICY),
    "NEVER_ENDS": ("will not end", with_sidecar(restartPolicy="Never"), account(), OLD_POLICY),
    "NO_INIT": ("init containers get no token", with_sidecar(initContainers=[SETUP]), account(), OLD_POLICY),
    "PORT_TAKEN": (
        "container app declares the sidecar's port 8000",
        with_sidecar({**APP, "ports": [{"containerPort": 8000}]}),
        account(),
        POLICY,
    ),
    "NOT_PASSED_ON": (
        "names attested, which the cluster does not allow",
        with_sidecar(annotations={"proxy-passthrough": "instance,attested"}),
        account(),
        replace(POLICY, passthrough=("instance", "versions")),
    ),
    "LOW_PORT": ("port 81 is below", with_sidecar(annotations={"proxy-sidecar-port": "81"}), account(), POLICY),
    "SIDECARS_USER": (
        "container app runs as user 1501",
        with_sidecar({**APP, "securityContext": {"runAsUser": 1501}}),
        account(),
        POLICY,
    ),
    "OTHER_SIDECAR": (
        "of its own",
        with_sidecar(APP, initContainers=[{"name": "azwi-proxy", "image": "other:1"}]),
        account(),
        POLICY,
    ),
    "MOUNTED": (
        "container app mounts",
        pod({**APP, "volumeMounts": [{"name": "own", "mountPath": "/var/run/secrets/azure/wi"}]}),
        account(),
        POLICY,
    ),
    "NO_BOOLEAN": ('inject-proxy-only is "no"', pod(annotations={"inject-proxy-only": "no"}), account(), POLICY),
    "GOES_PAST": (
        "container app sets AZURE_FEDERATED_TOKEN_FILE",
        pod({**APP, "env": [{"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/own"}]}, annotations=ONLY),
        account(),
        POLICY,
    ),
    "NOT_ONLY": (
        "use inject-proxy-only",
        with_sidecar(annotations={"use-binding": "true"}),
        account(),
        replace(POLICY, token_endpoint=ENDPOINT),
    ),
    "TOLD_OTHERWISE": (
        "container app sets IDENTITY_ENDPOINT",
        with_sidecar({**APP, "env": [{"name": "IDENTITY_ENDPOINT", "value": "http://x"}]}, annotations=ENV),
        account(),
        POLICY,
    ),
    "MAY_BE_WINDOWS": (
        "may run on Windows nodes",
        with_sidecar(
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "kubernetes.io/os", "operator": "In", "values": ["linux", "windows"]}
                                ]
                            }
                        ]
                    }
                }
            }
        ),
        account(),
        POLICY,
    ),
    "BYPASS": (
        "app and 1 more can bypass",
        with_sidecar(APP, initContainers=[SETUP], securityContext=None),
        account(),
        POLICY,
    ),
    "PROXIED": (
        "container app sets a proxy",
        with_sidecar({**APP, "env": [{"name": "HTTP_PROXY", "value": "http://x"}]}, annotations=ENV),
        account(),
        POLICY,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_warning(name: str) -> None:
    """It is the only one, and says what it is about."""
    said, document, who, policy = CASES[name]
    (warning,) = warned(document, who, policy)
    assert said in warning
    assert all(part in warning for part in getattr(advice, name).split("{}"))


def test_every_warning_is_tested_and_documented() -> None:
    """But one, which is about pods without the label, and tested with reviews."""
    texts = {name for name, value in vars(advice).items() if name.isupper() and isinstance(value, str)}
    assert texts == {*CASES, "NOT_LABELLED"}
    documented = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in texts if getattr(advice, name).replace("{}", "…") not in documented] == []


@pytest.mark.parametrize(
    "document, policy",
    [
        pytest.param(pod(), POLICY, id="a plain pod"),
        pytest.param(with_sidecar(initContainers=[SETUP], restartPolicy="Never"), POLICY, id="a Job"),
        pytest.param(with_sidecar(restartPolicy="Always"), OLD_POLICY, id="no native sidecar, no matter"),
        pytest.param(pod(annotations={"use-binding": "true"}), replace(POLICY, token_endpoint=ENDPOINT), id="binding"),
        pytest.param(pod(annotations={"use-other": "false"}), POLICY, id="another binding, not wanted"),
        pytest.param(
            with_sidecar(annotations={"skip-containers": "azwi-proxy-init"}), POLICY, id="the redirect may be skipped"
        ),
        pytest.param(
            with_sidecar({**APP, "securityContext": {"runAsUser": 1}}, securityContext={"runAsUser": 1501}),
            POLICY,
            id="a user of its own",
        ),
        pytest.param(
            with_sidecar(
                {**APP, "env": [{"name": "HTTP_PROXY"}, {"name": "NO_PROXY", "value": "127.0.0.1"}]}, annotations=ENV
            ),
            POLICY,
            id="an exempted proxy",
        ),
        pytest.param(mutate(with_sidecar(), account(), POLICY), POLICY, id="a pod that was mutated"),
        pytest.param(mutate(with_sidecar(annotations=ENV), account(), POLICY), POLICY, id="and by variables"),
        pytest.param(pod(annotations=ONLY), POLICY, id="the identity in the sidecar alone"),
        pytest.param(mutate(pod(annotations=ONLY), account(), POLICY), POLICY, id="and mutated"),
        pytest.param(
            with_sidecar(mutate(pod(), account(), POLICY)["spec"]["containers"][0], annotations=ONLY),
            POLICY,
            id="and mutated before without",
        ),
    ],
)
def test_no_warning(document: dict[str, Any], policy: Policy) -> None:
    """Nothing is said where nothing is wrong."""
    assert warned(document, None, policy) == ()


def capable(*, add: tuple[str, ...] = (), drop: tuple[str, ...] = (), **context: Any) -> dict[str, Any]:
    """Return the security context of a container with capabilities added and dropped."""
    return {"capabilities": {"add": list(add), "drop": list(drop)}, **context}


@pytest.mark.parametrize(
    "pods, container, is_warned",
    [
        pytest.param(None, None, True, id="nothing said"),
        pytest.param({}, {}, True, id="nothing in it"),
        pytest.param({"runAsUser": 0}, None, True, id="root"),
        pytest.param({"runAsUser": 1000}, None, False, id="another user"),
        pytest.param({"runAsNonRoot": True}, None, False, id="not root"),
        pytest.param({"runAsNonRoot": True}, {"runAsNonRoot": False}, True, id="the container's counts"),
        pytest.param({"runAsUser": 1000}, {"runAsUser": 0}, True, id="the container's user counts"),
        pytest.param(None, {"runAsUser": 1000}, False, id="another user in the container"),
        pytest.param(None, {"runAsUser": 1000, "runAsNonRoot": False}, False, id="the user counts"),
        pytest.param(None, capable(drop=("ALL",)), False, id="no capabilities"),
        pytest.param(None, capable(drop=("all",)), False, id="no capabilities, in small letters"),
        pytest.param(None, capable(drop=("SETUID", "NET_RAW")), False, id="neither of the two"),
        pytest.param(None, capable(drop=("CAP_SETUID", "CAP_NET_RAW")), False, id="with a prefix"),
        pytest.param(None, capable(drop=("SETUID",)), True, id="containerd's NET_RAW is left"),
        pytest.param(None, capable(drop=("NET_RAW",)), True, id="SETUID is left"),
        pytest.param(None, capable(add=("SETUID",), drop=("ALL",)), True, id="SETUID added"),
        pytest.param({"runAsNonRoot": True}, capable(add=("SETUID",)), False, id="SETUID added, not root"),
        pytest.param({"runAsNonRoot": True}, capable(add=("NET_RAW",), drop=("ALL",)), True, id="NET_RAW added"),
        pytest.param({"runAsNonRoot": True}, capable(add=("NET_ADMIN",)), True, id="NET_ADMIN added"),
        pytest.param({"runAsNonRoot": True}, capable(add=("ALL",)), True, id="all added"),
        pytest.param(None, capable(drop=("ALL",), privileged=True), True, id="privileged"),
    ],
)
def test_who_can_bypass_the_redirect(
    pods: dict[str, Any] | None, container: dict[str, Any] | None, *, is_warned: bool
) -> None:
    """Root with SETUID can become the sidecar's user, and the redirect does not see raw packets."""
    document = with_sidecar({**APP, "securityContext": container}, securityContext=pods)
    expected = (advice.BYPASS.format("app"),) if is_warned else ()
    assert warned(document) == expected
    assert warned(mutate(document, account(), POLICY)) == expected
    assert warned(with_sidecar(document["spec"]["containers"][0], annotations=ENV, securityContext=pods)) == ()
    assert warned(pod(document["spec"]["containers"][0], securityContext=pods)) == ()


def test_long_names_are_cut() -> None:
    """So that all of a warning fits."""
    (warning,) = warned(pod(annotations={"skip-containers": "x" * 300}))
    assert len(warning) == advice.LONGEST
    assert warning.endswith("…, which the pod has not")


def test_many_warnings_are_counted() -> None:
    """After a dozen."""
    warnings = warned(pod(annotations={"skip-containers": ";".join(map(str, range(100)))}))
    assert len(warnings) == advice.MOST
    assert warnings[-1] == "and 89 more"


def test_line_ends_do_not_get_through() -> None:
    """A name is whatever its maker wrote."""
    (warning,) = warned(pod(annotations={"skip-containers": "a\nb"}))
    assert warning == r"skip-containers names 'a\nb', which the pod has not"
