"""What is put into pods, where the observed answers do not say."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.unit.wisp.admission.pods import (
    OLD_POLICY,
    POLICY,
    PREFIX,
    account,
    mutation,
    named,
    pod,
    variables,
    with_sidecar,
)
from tests.unit.wisp.admission.pointer import patched
from wisp.admission.mutate import mutate
from wisp.admission.policy import (
    ConfigMapCA,
    CustomTokenEndpoint,
    EndpointCA,
    InlineCA,
    NativeSidecar,
    Policy,
    Requirement,
    Resources,
    TrustBundleCA,
)
from wisp.admission.types import PodError
from wisp.imds.passthrough import NAMES, SEGMENTS, read_names
from wisp.proxy.flags import parse_flags

GOLDEN = ROOT / "tests" / "golden" / "admission"
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
MOUNT = "/var/run/secrets/azure/wi"
ENDPOINT = CustomTokenEndpoint(suffix="identity-binding", audience="api://binding", url="https://proxy.test/x")
BINDING = {"use-identity-binding": "true"}

GOLDENS = {
    "plain": (pod(), POLICY),
    "sidecar": (with_sidecar(), POLICY),
    "sidecar-beside-others": (
        with_sidecar(
            {"name": "app", "image": "app:1", "env": [{"name": "X", "value": "1"}]},
            {"name": "log", "image": "log:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            initContainers=[{"name": "setup", "image": "setup:1"}],
            volumes=[{"name": "data", "emptyDir": {}}],
        ),
        POLICY,
    ),
    "sidecar-before-1.32": (with_sidecar(), OLD_POLICY),
    "environment": (with_sidecar(annotations={"inject-proxy-mode": "env"}), POLICY),
    "proxy-only": (pod(annotations={"inject-proxy-only": "true"}), replace(POLICY, legacy_token_mount=True)),
    "proxy-only-environment": (
        with_sidecar(annotations={"inject-proxy-mode": "env", **BINDING}),
        replace(POLICY, proxy_only=True, token_endpoint=replace(ENDPOINT, ca=InlineCA(PEM))),
    ),
    "token-endpoint": (
        with_sidecar(annotations=BINDING),
        replace(POLICY, token_endpoint=replace(ENDPOINT, sni_name="sni.test", ca=ConfigMapCA("wi-ca"))),
    ),
    "everything-else": (with_sidecar(), replace(POLICY, legacy_token_mount=True, authority_ca=PEM)),
    "passthrough": (with_sidecar(annotations={"proxy-passthrough": "instance,versions"}), POLICY),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_patch_matches_the_golden_file(name: str) -> None:
    """The operations have the order in which they are sent."""
    before, policy = GOLDENS[name]
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    operations = list(mutation(before, account(), policy).operations)
    assert golden == {"pod": before, "patch": operations}
    assert patched(before, golden["patch"]) == mutate(before, account(), policy)


def inits(document: dict[str, Any]) -> list[str]:
    """Return the names of the init containers, in order."""
    return [container["name"] for container in document["spec"].get("initContainers", [])]


def regulars(document: dict[str, Any]) -> list[str]:
    """Return the names of the containers, in order."""
    return [container["name"] for container in document["spec"]["containers"]]


SETUP = {"name": "setup", "image": "setup:1"}


@pytest.mark.parametrize(
    "native, version, is_native",
    [
        ("auto", (1, 32), True),
        ("auto", (1, 31), False),
        ("auto", (2, 0), True),
        ("auto", None, False),
        ("always", (1, 20), True),
        ("always", None, True),
        ("never", (1, 34), False),
    ],
)
def test_sidecar_is_native_where_the_policy_allows(
    native: str, version: tuple[int, int] | None, *, is_native: bool
) -> None:
    """From 1.32 on every kubelet runs native sidecars; otherwise the sidecar is the first ordinary container."""
    policy = replace(POLICY, native_sidecar=NativeSidecar(native), server_version=version)
    after = mutate(with_sidecar(initContainers=[SETUP]), account(), policy)
    assert inits(after) == ["azwi-proxy-init", *(["azwi-proxy"] if is_native else []), "setup"]
    assert regulars(after) == [*([] if is_native else ["azwi-proxy"]), "app"]
    assert named(after, "azwi-proxy").get("restartPolicy") == ("Always" if is_native else None)


def test_our_init_containers_come_before_those_of_an_earlier_injector() -> None:
    mesh = {"name": "istio-init", "image": "istio:1"}
    after = mutate(with_sidecar(initContainers=[mesh, SETUP]), account(), POLICY)
    assert inits(after) == ["azwi-proxy-init", "azwi-proxy", "istio-init", "setup"]


def test_containers_of_a_later_injector_get_the_identity_on_reinvocation() -> None:
    """Our containers move back to the front."""
    once = mutate(with_sidecar(), account(), POLICY)
    mesh = {"name": "istio-proxy", "image": "istio:1", "restartPolicy": "Always"}
    once["spec"]["initContainers"].insert(0, mesh)
    again = mutate(once, account(), POLICY)
    assert inits(again) == ["azwi-proxy-init", "azwi-proxy", "istio-proxy"]
    assert variables(named(again, "istio-proxy"))["AZURE_CLIENT_ID"]
    assert [operation["op"] for operation in mutation(once, account(), POLICY).operations] == [
        "add",
        "add",
        "move",
        "move",
    ]


def test_defaults_of_the_api_server_cause_no_change() -> None:
    """On reinvocation the pod contains defaults; no patch is sent."""
    once = mutate(with_sidecar(), account(), POLICY)
    once["spec"]["volumes"][0]["projected"]["defaultMode"] = 420
    named(once, "azwi-proxy")["ports"][0]["protocol"] = "TCP"
    named(once, "app")["volumeMounts"][0]["recursiveReadOnly"] = "Disabled"
    assert mutation(once, account(), POLICY).operations == ()


def test_volume_of_a_copied_pod_is_used_again() -> None:
    """A manifest copied from a mutated pod contains that pod's volume; two mounts at one path are invalid."""
    once = mutate(pod(), account(), POLICY)
    once["metadata"]["name"] = "copy"
    assert mutation(once, account(), POLICY).operations == ()


@pytest.mark.parametrize("more", [{"subPath": "token"}, {"readOnly": False}, {"mountPath": "/elsewhere"}], ids=str)
def test_wrong_mount_of_the_token_volume_is_replaced(more: dict[str, Any]) -> None:
    once = mutate(pod(), account(), POLICY)
    right = [dict(mount) for mount in named(once, "app")["volumeMounts"]]
    named(once, "app")["volumeMounts"][0] = {**right[0], **more}
    assert named(mutate(once, account(), POLICY), "app")["volumeMounts"] == right


def test_duplicate_mount_is_removed() -> None:
    once = mutate(pod(), account(), POLICY)
    mounts = named(once, "app")["volumeMounts"]
    mounts.append({**mounts[0], "mountPath": "/twice"})
    assert len(named(mutate(once, account(), POLICY), "app")["volumeMounts"]) == 1


def test_own_mount_at_the_token_path_stays_with_a_warning() -> None:
    own = {"name": "app", "volumeMounts": [{"name": "own", "mountPath": MOUNT}]}
    document = pod(own, volumes=[{"name": "own", "emptyDir": {}}])
    assert named(mutate(document, account(), POLICY), "app")["volumeMounts"] == own["volumeMounts"]
    assert mutation(document, account(), POLICY).warnings == (
        f"the container app has its own mount at {MOUNT}: the token is not there",
    )


def test_sidecar_satisfies_pod_security_restricted() -> None:
    """Every field that the standard requires is set. In env mode there is no other container of ours."""
    after = mutate(with_sidecar(annotations={"inject-proxy-mode": "env"}), account(), POLICY)
    assert inits(after) == ["azwi-proxy"]
    context = named(after, "azwi-proxy")["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 1501
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    (volume,) = after["spec"]["volumes"]
    assert set(volume) == {"name", "projected"}


def test_env_mode_sets_variables_instead_of_the_redirect() -> None:
    """Containers and sidecar have the same header, also a container added later and in a renamed pod."""
    document = with_sidecar(
        annotations={"inject-proxy-mode": "env", "proxy-sidecar-port": "9000"}, initContainers=[SETUP]
    )
    after = mutate(document, account(), POLICY)
    after["metadata"]["name"] = "renamed"
    after["spec"]["containers"].append({"name": "late", "image": "late:1"})
    after = mutate(after, account(), POLICY)
    header = variables(named(after, "azwi-proxy"))["IDENTITY_HEADER"]
    assert len(header) == 32
    for name in ("app", "setup", "late"):
        values = variables(named(after, name))
        assert values["IDENTITY_HEADER"] == values["MSI_SECRET"] == header
        assert values["IDENTITY_ENDPOINT"] == values["MSI_ENDPOINT"]
        assert values["IDENTITY_ENDPOINT"] == "http://127.0.0.1:9000/metadata/identity/oauth2/token"
        assert values["AZURE_POD_IDENTITY_AUTHORITY_HOST"] == "http://127.0.0.1:9000"
    assert "IDENTITY_ENDPOINT" not in variables(named(after, "azwi-proxy"))


def test_header_is_derived_from_the_name_of_the_pod() -> None:
    """It is the same at every mutation of one pod."""
    one, other = (with_sidecar(annotations={"inject-proxy-mode": "env"}) for _ in range(2))
    other["metadata"]["name"] = "other"
    headers = {
        variables(named(mutate(document, account(), POLICY), "azwi-proxy"))["IDENTITY_HEADER"]
        for document in (one, one, other)
    }
    assert len(headers) == 2


@pytest.mark.parametrize(
    "annotations, requests, limits",
    [
        pytest.param({}, ("10m", "32Mi"), ("500m", "128Mi"), id="defaults"),
        pytest.param({"proxy-cpu-limit": "1"}, ("10m", "32Mi"), ("1", "128Mi"), id="one annotation"),
        pytest.param({"proxy-cpu-limit": ""}, ("10m", "32Mi"), (None, "128Mi"), id="one value removed"),
        pytest.param({"proxy-memory-request": "1Gi"}, ("10m", "1Gi"), ("500m", "1Gi"), id="a request raises the limit"),
        pytest.param({"proxy-memory-limit": "20M"}, ("10m", "20M"), ("500m", "20M"), id="a limit lowers the request"),
        pytest.param(
            {"proxy-memory-limit": "1Gi", "proxy-memory-request": "1024Mi"},
            ("10m", "1024Mi"),
            ("500m", "1Gi"),
            id="the same amount",
        ),
    ],
)
def test_annotated_resources_apply_to_both_containers(
    annotations: dict[str, str], requests: tuple[str | None, ...], limits: tuple[str | None, ...]
) -> None:
    """Annotations override the policy for both containers, since a LimitRange checks each container."""
    after = mutate(with_sidecar(annotations=annotations), account(), POLICY)
    for name in ("azwi-proxy", "azwi-proxy-init"):
        resources = named(after, name)["resources"]
        assert (resources["requests"].get("cpu"), resources["requests"].get("memory")) == requests
        assert (resources["limits"].get("cpu"), resources["limits"].get("memory")) == limits


def test_resources_without_annotations_may_differ_between_containers() -> None:
    """An annotation overrides the policy for sidecar and redirect; other values stay."""
    policy = replace(POLICY, redirect_resources=Resources(cpu_limit="2", memory_limit="1Gi"))
    after = mutate(with_sidecar(annotations={"proxy-memory-limit": "64Mi"}), account(), policy)
    assert named(after, "azwi-proxy-init")["resources"] == {"limits": {"cpu": "2", "memory": "64Mi"}}
    assert named(after, "azwi-proxy")["resources"]["limits"] == {"cpu": "500m", "memory": "64Mi"}


@pytest.mark.parametrize(
    "measured, annotations, left",
    [
        pytest.param({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}, {}, {}, id="cpu and memory"),
        pytest.param(
            {"limits": {"cpu": "1"}},
            {},
            {"requests": {"memory": "32Mi"}, "limits": {"memory": "128Mi"}},
            id="cpu only",
        ),
        pytest.param(
            {"requests": {"cpu": "1", "memory": "1Gi"}},
            {"proxy-memory-limit": "64Mi"},
            {"limits": {"memory": "64Mi"}},
            id="with an annotation",
        ),
        pytest.param(
            {"limits": {"hugepages-2Mi": "2Mi"}},
            {},
            {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}},
            id="another resource",
        ),
    ],
)
def test_pod_level_resources_are_left_out_of_containers(
    measured: dict[str, dict[str, str]], annotations: dict[str, str], left: dict[str, dict[str, str]]
) -> None:
    """Containers must not request more than the pod: for resources that the pod sets, ours set none."""
    before = with_sidecar(annotations=annotations)
    before["spec"]["resources"] = measured
    after = mutate(before, account(), POLICY)
    for name in ("azwi-proxy", "azwi-proxy-init"):
        assert named(after, name).get("resources", {}) == left
    assert after["spec"]["resources"] == measured


def test_empty_resources_are_omitted() -> None:
    """A cluster may be configured without resources."""
    policy = replace(POLICY, proxy_resources=Resources(), redirect_resources=Resources())
    after = mutate(with_sidecar(), account(), policy)
    assert "resources" not in named(after, "azwi-proxy")
    assert "resources" not in named(after, "azwi-proxy-init")


def test_guaranteed_pod_stays_guaranteed() -> None:
    """The QoS class depends on every container, so requests of ours equal their limits."""
    own = {"name": "app", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    after = mutate(with_sidecar(own), account(), POLICY)
    for name in ("azwi-proxy", "azwi-proxy-init"):
        resources = named(after, name)["resources"]
        assert resources["requests"] == resources["limits"]


@pytest.mark.parametrize(
    "ca, file, data, source",
    [
        pytest.param(None, False, None, None, id="system authorities"),
        pytest.param(
            ConfigMapCA("wi-ca"),
            True,
            None,
            {"configMap": {"name": "wi-ca", "items": [{"key": "ca.crt", "path": "ca-cert/ca.crt"}], "optional": False}},
            id="a ConfigMap",
        ),
        pytest.param(
            TrustBundleCA("signer.test/x", (("a", "b"),)),
            True,
            None,
            {
                "clusterTrustBundle": {
                    "signerName": "signer.test/x",
                    "labelSelector": {"matchLabels": {"a": "b"}},
                    "path": "ca-cert/ca.crt",
                    "optional": False,
                }
            },
            id="trust bundles",
        ),
        pytest.param(
            TrustBundleCA("signer.test/x"),
            True,
            None,
            {
                "clusterTrustBundle": {
                    "signerName": "signer.test/x",
                    "labelSelector": {},
                    "path": "ca-cert/ca.crt",
                    "optional": False,
                }
            },
            id="all of a signer's trust bundles",
        ),
        pytest.param(
            TrustBundleCA(
                "signer.test/x",
                requirements=(Requirement("a", "NotIn", ("b", "c")), Requirement("d", "Exists")),
            ),
            True,
            None,
            {
                "clusterTrustBundle": {
                    "signerName": "signer.test/x",
                    "labelSelector": {
                        "matchExpressions": [
                            {"key": "a", "operator": "NotIn", "values": ["b", "c"]},
                            {"key": "d", "operator": "Exists"},
                        ]
                    },
                    "path": "ca-cert/ca.crt",
                    "optional": False,
                }
            },
            id="trust bundles by expressions",
        ),
        pytest.param(InlineCA(PEM), False, PEM, None, id="PEM in a variable"),
    ],
)
def test_ca_of_a_token_endpoint_is_in_the_volume_or_a_variable(
    ca: EndpointCA | None, *, file: bool, data: str | None, source: dict[str, Any] | None
) -> None:
    """For a file in the volume, a variable has its path."""
    policy = replace(POLICY, token_endpoint=replace(ENDPOINT, ca=ca))
    after = mutate(pod(annotations=BINDING), account(), policy)
    values = variables(named(after, "app"))
    assert values["AZURE_KUBERNETES_TOKEN_PROXY"] == "https://proxy.test/x"
    assert values.get("AZURE_KUBERNETES_CA_FILE") == (f"{MOUNT}/ca-cert/ca.crt" if file else None)
    assert values.get("AZURE_KUBERNETES_CA_DATA") == data
    sources = after["spec"]["volumes"][0]["projected"]["sources"]
    assert sources[0]["serviceAccountToken"]["audience"] == "api://binding"
    assert sources[1:] == ([] if source is None else [source])


def test_legacy_mount_has_the_token_at_its_old_path() -> None:
    """It is a separate volume, since a subPath mount is never renewed; audience and lifetime are the same."""
    after = mutate(pod(annotations={"service-account-token-expiration": "7200"}), account(), _legacy())
    (new, old) = after["spec"]["volumes"]
    (token,) = old["projected"]["sources"]
    assert token["serviceAccountToken"] == {
        **new["projected"]["sources"][0]["serviceAccountToken"],
        "path": "azure-identity-token",
    }
    assert named(after, "app")["volumeMounts"][1] == {
        "name": old["name"],
        "mountPath": "/var/run/secrets/azure/tokens",
        "readOnly": True,
    }


def test_own_mount_at_the_legacy_path_stays() -> None:
    own = {"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/var/run/secrets/azure/tokens"}]}
    after = mutate(pod(own), account(), _legacy())
    assert [mount["mountPath"] for mount in named(after, "app")["volumeMounts"]] == [
        "/var/run/secrets/azure/tokens",
        MOUNT,
    ]


def test_swapped_mounts_of_ours_are_corrected() -> None:
    """One mutation is enough to move both to their paths."""
    usual = mutate(pod(), account(), _legacy())["spec"]
    volume = usual["volumes"][0]
    own = {"name": "app", "volumeMounts": [{"name": volume["name"], "mountPath": "/var/run/secrets/azure/tokens"}]}
    after = mutate(pod(own, volumes=[volume]), account(), _legacy())
    assert named(after, "app")["volumeMounts"] == usual["containers"][0]["volumeMounts"]
    assert mutate(after, account(), _legacy()) == after


def _legacy() -> Policy:
    return replace(POLICY, legacy_token_mount=True)


def test_authority_ca_is_a_variable_of_the_sidecar_only() -> None:
    after = mutate(with_sidecar(), account(), replace(POLICY, authority_ca=PEM))
    assert variables(named(after, "azwi-proxy"))["WISP_AUTHORITY_CA_DATA"] == PEM
    assert "WISP_AUTHORITY_CA_DATA" not in variables(named(after, "app"))


def test_default_container_that_is_set_stays() -> None:
    document = with_sidecar({"name": "a"}, {"name": "b"})
    document["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] = "b"
    assert mutate(document, account(), POLICY)["metadata"] == document["metadata"]


def test_windows_pod_without_a_sidecar_gets_the_identity() -> None:
    """Variables and the token work on Windows."""
    after = mutate(pod(os={"name": "windows"}), account(), POLICY)
    assert variables(named(after, "app"))["AZURE_FEDERATED_TOKEN_FILE"]


@pytest.mark.parametrize(
    "annotation, cluster, expected",
    [
        pytest.param(None, SEGMENTS, None, id="default"),
        pytest.param(None, (), "none", id="cluster allows nothing"),
        pytest.param(None, NAMES, ",".join(NAMES), id="cluster allows acknowledgements"),
        pytest.param("none", SEGMENTS, "none", id="pod allows nothing"),
        pytest.param(" Versions, INSTANCE ", SEGMENTS, "instance,versions", id="pod allows less"),
        pytest.param("instance,attested", ("instance",), "instance", id="pod asks for more than the cluster allows"),
        pytest.param("attested", ("instance",), "none", id="nothing in common"),
        pytest.param(
            "scheduledevents-acknowledge,scheduledevents",
            SEGMENTS,
            "scheduledevents",
            id="acknowledgement not allowed by the cluster",
        ),
        pytest.param("scheduledevents-acknowledge", NAMES, "scheduledevents-acknowledge", id="acknowledgement only"),
    ],
)
def test_passthrough_of_the_sidecar_is_the_policy_narrowed_by_the_annotation(
    annotation: str | None, cluster: tuple[str, ...], expected: str | None
) -> None:
    """A pod cannot widen the cluster's list; the sidecar's default needs no argument."""
    annotations = {} if annotation is None else {"proxy-passthrough": annotation}
    after = mutate(with_sidecar(annotations=annotations), account(), replace(POLICY, passthrough=cluster))
    (arguments,) = (
        container["args"] for container in after["spec"]["initContainers"] if container["name"] == "azwi-proxy"
    )
    assert arguments[2:] == ([] if expected is None else [f"--passthrough={expected}"])
    assert parse_flags(arguments).passthrough == (SEGMENTS if expected is None else read_names(expected))


@pytest.mark.parametrize(
    "document, message",
    [
        pytest.param(with_sidecar(hostNetwork=True), "the node's network", id="host network"),
        pytest.param(
            with_sidecar(annotations={"inject-proxy-mode": "env"}, hostNetwork=True),
            "the node's network",
            id="host network in env mode",
        ),
        pytest.param(with_sidecar(os={"name": "windows"}), "Windows", id="Windows"),
        pytest.param(with_sidecar(nodeSelector={"kubernetes.io/os": "windows"}), "Windows", id="Windows node"),
        pytest.param(
            with_sidecar(annotations={"inject-proxy-mode": "evn"}), "'evn': use redirect or env", id="unknown mode"
        ),
        pytest.param(with_sidecar(annotations={"proxy-sidecar-port": ""}), "proxy-sidecar-port is ''", id="empty port"),
        pytest.param(with_sidecar(annotations={"proxy-sidecar-port": "0"}), "1 to 65535", id="port 0"),
        pytest.param(with_sidecar(annotations={"proxy-sidecar-port": " 80"}), "plain digits", id="port with a space"),
        pytest.param(
            with_sidecar(annotations={"proxy-passthrough": "identity"}),
            "give none, or some of",
            id="unknown passthrough name",
        ),
        pytest.param(
            with_sidecar(annotations={"proxy-passthrough": ""}), "proxy-passthrough is ''", id="empty passthrough"
        ),
        pytest.param(with_sidecar(annotations={"proxy-cpu-limit": "much"}), "give a quantity", id="invalid quantity"),
        pytest.param(
            with_sidecar(annotations={"proxy-cpu-limit": "1", "proxy-cpu-request": "2"}),
            "is more than",
            id="request above limit",
        ),
        pytest.param({"metadata": [], "spec": {}}, "/metadata is not an object", id="metadata is a list"),
        pytest.param({"spec": {"containers": {}}}, "/spec/containers is not a list", id="containers is an object"),
        pytest.param({"spec": {"containers": [1]}}, "/spec/containers/0 is not an object", id="container is a number"),
        pytest.param({"spec": {"containers": [{"name": 1}]}}, "/name is not a string", id="name is a number"),
        pytest.param(
            {"metadata": {"annotations": {"a": 1}}, "spec": {}},
            "/metadata/annotations has a value",
            id="annotation is a number",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a", "env": 1}]}},
            "/spec/containers/0/env is not a list",
            id="env is a number",
        ),
        pytest.param(
            {"spec": {"initContainers": [{}, {"volumeMounts": [{"name": {}}]}]}},
            "/spec/initContainers/1/volumeMounts/0/name is not a string",
            id="name of a mount is an object",
        ),
        pytest.param(
            {"spec": {"containers": [{"ports": [{"containerPort": []}]}]}},
            "/spec/containers/0/ports/0/containerPort is not a string, number or boolean",
            id="port is a list",
        ),
        pytest.param(
            {"spec": {"affinity": {"nodeAffinity": []}}},
            "/spec/affinity/nodeAffinity is not an object",
            id="node affinity is a list",
        ),
        pytest.param(
            {"metadata": {"labels": {"a" * 318: ""}}, "spec": {}},
            "/metadata/labels has a key of more",
            id="long label key",
        ),
        pytest.param(
            {"spec": {"nodeSelector": {"a": {}}}}, "/spec/nodeSelector/* is not", id="node selector has an object"
        ),
        pytest.param(
            {"metadata": {"labels": []}, "spec": {}}, "/metadata/labels is not an object", id="labels is a list"
        ),
        pytest.param(
            {"metadata": {"labels": {f"{PREFIX}use": True}}, "spec": {}},
            f"{PREFIX}use is not a string",
            id="label is a boolean",
        ),
        pytest.param(
            {"metadata": {"name": "x" * 254}, "spec": {}}, "/metadata/name is longer than 253", id="long name"
        ),
        pytest.param({"spec": {"containers": [{"name": "\ud800"}]}}, "not valid JSON", id="lone surrogate"),
    ],
)
def test_invalid_pod_is_refused_with_a_hint(document: dict[str, Any], message: str) -> None:
    with pytest.raises(PodError) as refused:
        mutate(document, account(), POLICY)
    assert message in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("3600", 3600),
        ("86400", 86400),
        ("+3600", 3600),
        ("0003600", 3600),
        ("", 3600),
        ("3599", None),
        ("86401", None),
        ("-3600", None),
        ("3_600", None),
        (" 3600", None),
        ("3600\n", None),
        ("3600s", None),
        ("0xe10", None),
        ("\u0663\u0666\u0660\u0660", None),
        ("9" * 5000, None),
        ("+", None),
        ("0", None),
    ],
    ids=repr,
)
def test_expiration_is_parsed_as_go_parses_integers(text: str, seconds: int | None) -> None:
    document = pod(annotations={"service-account-token-expiration": text})
    if seconds is None:
        with pytest.raises(PodError, match="3600 to 86400"):
            mutate(document, account(), POLICY)
        return
    (volume,) = mutate(document, account(), POLICY)["spec"]["volumes"]
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == seconds
