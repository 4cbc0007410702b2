"""The annotation inject-proxy-only: the sidecar has the identity, and no other container of the pod has any of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.admission.observed import CASES
from tests.unit.wisp.admission.pods import (
    ACCOUNTS,
    CLIENT_ID,
    OLD_POLICY,
    PODS,
    POLICIES,
    POLICY,
    PREFIX,
    account,
    mutation,
    named,
    pod,
    variables,
    with_sidecar,
)
from tests.unit.wisp.admission.test_mutate import BINDING, ENDPOINT, MOUNT, PEM
from tests.unit.wisp.admission.test_properties import anyhow
from tests.unit.wisp.cli.command import inject
from wisp.admission.mutate import mutate
from wisp.admission.policy import ConfigMapCA, InlineCA, Policy
from wisp.admission.types import PodError

ONLY = {"inject-proxy-only": "true"}
ENV = {"inject-proxy-mode": "env"}
FOUR = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"}
ENDPOINTS = {"AZURE_KUBERNETES_TOKEN_PROXY", "AZURE_KUBERNETES_SNI_NAME"}
PLACES = {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "AZURE_POD_IDENTITY_AUTHORITY_HOST"}
DEFAULT = replace(POLICY, proxy_only=True)
APP = {"name": "app", "image": "app:1"}
SETUP = {"name": "setup", "image": "setup:1"}
FULL = replace(POLICY, legacy_token_mount=True, authority_ca=PEM, token_endpoint=replace(ENDPOINT, sni_name="sni.test"))


def others(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every container but the sidecar."""
    spec = document["spec"]
    return [
        container
        for container in (*(spec.get("initContainers") or []), *spec["containers"])
        if container["name"] != "azwi-proxy"
    ]


def has_token(container: dict[str, Any]) -> bool:
    """Say whether a container mounts a volume with the token."""
    mounts = container.get("volumeMounts") or []
    return any(str(mount["name"]).startswith("azure-workload-identity-") for mount in mounts)


def is_proxy_only(document: dict[str, Any]) -> bool:
    """Say whether the sidecar is there and alone has the identity."""
    return FOUR.issubset(variables(named(document, "azwi-proxy"))) and not any(
        FOUR & set(variables(container)) or has_token(container) for container in others(document)
    )


@pytest.mark.parametrize("policy", [POLICY, OLD_POLICY], ids=["native sidecar", "regular sidecar"])
@pytest.mark.parametrize("mode", [{}, ENV], ids=["redirect", "env"])
def test_sidecar_alone_has_the_identity(mode: dict[str, str], policy: Policy) -> None:
    """The pod has init containers, a custom token endpoint, a private authority and the legacy mount."""
    version = policy.server_version
    document = pod(APP, annotations={**ONLY, **mode, **BINDING}, initContainers=[SETUP])
    after = mutate(document, account(), replace(FULL, server_version=version))
    sidecar = named(after, "azwi-proxy")
    assert set(variables(sidecar)) - {"IDENTITY_HEADER"} == FOUR | ENDPOINTS | {"WISP_AUTHORITY_CA_DATA"}
    assert [mount["mountPath"] for mount in sidecar["volumeMounts"]] == [MOUNT]
    assert [volume["name"] for volume in after["spec"]["volumes"]] == [sidecar["volumeMounts"][0]["name"]]
    for container in others(after):
        expected = PLACES if mode and container["name"] != "azwi-proxy-init" else set()
        assert set(variables(container)) == expected
        assert "volumeMounts" not in container
        assert container.get("env") != []


@pytest.mark.parametrize("ca", [ConfigMapCA("wi-ca"), InlineCA(PEM)], ids=["file", "data"])
def test_ca_of_the_endpoint_is_only_in_the_sidecar(ca: ConfigMapCA | InlineCA) -> None:
    """It is in a variable or in the volume."""
    policy = replace(POLICY, token_endpoint=replace(ENDPOINT, ca=ca))
    after = mutate(pod(annotations={**ONLY, **BINDING}), account(), policy)
    names = {"AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA"}
    assert len(names & set(variables(named(after, "azwi-proxy")))) == 1
    assert variables(named(after, "app")) == {}


@pytest.mark.parametrize("value", ["true", "True", "1", "", "yes"])
def test_any_value_except_false_means_true(value: str) -> None:
    """This is as with inject-proxy-sidecar; a misspelled value withholds the identity."""
    assert is_proxy_only(mutate(pod(annotations={"inject-proxy-only": value}), account(), POLICY))


@pytest.mark.parametrize("value", ["false", "False", "FALSE", "f", "F", "0"])
@pytest.mark.parametrize("policy", [POLICY, DEFAULT], ids=["default false", "default true"])
def test_false_gives_every_container_the_identity(value: str, policy: Policy) -> None:
    """It overrides the cluster's default, and alone it adds no sidecar."""
    after = mutate(with_sidecar(annotations={"inject-proxy-only": value}), account(), policy)
    assert set(variables(named(after, "app"))) == FOUR
    assert has_token(named(after, "app"))
    alone = mutate(pod(annotations={"inject-proxy-only": value}), account(), policy)
    assert "initContainers" not in alone["spec"]
    assert mutation(alone, account(), policy).warnings == ()


def test_cluster_default_applies_only_to_pods_with_a_sidecar() -> None:
    """A pod without a sidecar needs the identity itself."""
    assert is_proxy_only(mutate(with_sidecar(), account(), DEFAULT))
    for annotations in (None, {"inject-proxy-sidecar": "false"}):
        after = mutate(pod(annotations=annotations), account(), DEFAULT)
        assert "initContainers" not in after["spec"]
        assert set(variables(named(after, "app"))) == FOUR


def test_annotation_that_refuses_the_sidecar_contradicts_proxy_only() -> None:
    """The pod is refused: it would have no identity, or one in containers that must not have it."""
    document = pod(annotations={**ONLY, "inject-proxy-sidecar": "false"})
    with pytest.raises(
        PodError, match=r"inject-proxy-only asks for the sidecar, and .*inject-proxy-sidecar refuses it"
    ):
        mutate(document, account(), POLICY)


@pytest.mark.parametrize("spec", [{"hostNetwork": True}, {"os": {"name": "windows"}}], ids=str)
def test_pod_that_cannot_have_a_sidecar_is_refused(spec: dict[str, Any]) -> None:
    """The message names the annotation."""
    with pytest.raises(PodError) as refused:
        mutate(pod(annotations=ONLY, **spec), account(), POLICY)
    assert f"annotation {PREFIX}inject-proxy-only" in str(refused.value)


@pytest.mark.parametrize("mode", [{}, ENV], ids=["redirect", "env"])
def test_identity_of_an_earlier_mutation_is_removed(mode: dict[str, str]) -> None:
    """Every container except the sidecar loses both mounts and the variables; the user's own stay in order."""
    own: list[dict[str, Any]] = [
        {"name": "A", "value": "1"},
        {"name": "AZURE_CLIENT_ID", "valueFrom": {"fieldRef": {}}},
    ]
    data = {"name": "data", "mountPath": "/data"}
    before = pod(
        {**APP, "env": own, "volumeMounts": [data]},
        annotations={**BINDING, **mode},
        initContainers=[SETUP],
        volumes=[{"name": "data"}],
    )
    policy = replace(FULL, token_endpoint=replace(ENDPOINT, ca=InlineCA(PEM)))
    once = mutate(before, account(), policy)
    assert has_token(named(once, "app"))
    once["metadata"] = pod(annotations={**BINDING, **mode, **ONLY})["metadata"]
    after = mutate(once, account(), policy)
    app = named(after, "app")
    assert app["env"][:2] == own
    assert {variable["name"] for variable in app["env"][2:]} == (PLACES if mode else set())
    assert app["volumeMounts"] == [data]
    assert set(variables(named(after, "setup"))) == (PLACES if mode else set())
    assert "volumeMounts" not in named(after, "setup")
    assert mutation(after, account(), policy) == ((), ())


OBSERVED = [case for case in CASES if case.name == "sidecar"]


def test_identity_that_the_reference_added_is_removed() -> None:
    """Its webhook ran first and gave the token to the redirect and the application."""
    (case,) = OBSERVED
    document = case.answer["pod"]
    document = {**document, "metadata": {**document["metadata"], "annotations": {f"{PREFIX}inject-proxy-only": "true"}}}
    assert case.account is not None
    after = mutate(document, case.account, case.policy)
    assert is_proxy_only(after)
    assert mutation(after, case.account, case.policy).operations == ()


def test_container_of_another_injector_gets_nothing() -> None:
    """The order of the webhooks does not matter; in env mode the container gets the sidecar's address."""
    for mode, expected in (({}, set()), (ENV, PLACES)):
        once = mutate(pod(annotations={**ONLY, **mode}), account(), POLICY)
        once["spec"]["initContainers"].insert(0, {"name": "istio-proxy", "image": "istio:1"})
        again = mutate(once, account(), POLICY)
        assert set(variables(named(again, "istio-proxy"))) == expected
        assert not has_token(named(again, "istio-proxy"))
        assert is_proxy_only(again)


def test_variables_of_the_user_stay() -> None:
    """A warning is added if the SDKs would exchange a token themselves; a client id alone causes none."""
    client = {"name": "AZURE_CLIENT_ID", "value": CLIENT_ID}
    after = mutate(pod({**APP, "env": [client]}, annotations=ONLY), account(), POLICY)
    assert named(after, "app")["env"] == [client]
    assert mutation(after, account(), POLICY) == ((), ())
    for value in ("/var/run/secrets/own/token", f"{MOUNT}/token/azure-identity-token"):
        file = {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": value}
        document = pod({**APP, "env": [client, file]}, annotations=ONLY)
        assert named(mutate(document, account(), POLICY), "app")["env"] == [client, file]
        assert mutation(document, account(), POLICY).warnings == (
            "the container app sets AZURE_FEDERATED_TOKEN_FILE itself: Azure SDKs bypass the sidecar",
        )


def test_mount_of_the_user_at_the_token_path_stays() -> None:
    """No token is expected there, so there is no warning."""
    own = {"name": "own", "mountPath": MOUNT}
    document = pod({**APP, "volumeMounts": [own]}, annotations=ONLY, volumes=[{"name": "own", "emptyDir": {}}])
    assert named(mutate(document, account(), POLICY), "app")["volumeMounts"] == [own]
    assert mutation(document, account(), POLICY).warnings == ()


def test_skipped_containers_get_nothing() -> None:
    """In env mode they do not get the sidecar's address; in redirect mode there is nothing to skip."""
    skipping = {**ONLY, "skip-containers": "app"}
    assert mutation(pod(annotations=skipping), account(), POLICY).warnings == ()
    document = pod(APP, {"name": "other"}, annotations={**skipping, **ENV})
    after = mutate(document, account(), POLICY)
    assert named(after, "app") == APP
    assert set(variables(named(after, "other"))) == PLACES
    assert "every container" in mutation(pod(annotations={**skipping, **ENV}), account(), POLICY).warnings[0]


def test_skipped_sidecar_has_no_identity() -> None:
    """A warning is added."""
    document = pod(annotations={**ONLY, "skip-containers": "azwi-proxy"})
    after = mutate(document, account(), POLICY)
    assert variables(named(after, "azwi-proxy")) == {}
    assert not any(has_token(container) for container in others(after))
    assert mutation(document, account(), POLICY).warnings == (
        "skip-containers names azwi-proxy: without the identity the sidecar will not start",
    )


def test_hint_for_identity_bindings_disappears_once_proxy_only_is_set() -> None:
    """Either value counts."""
    policy = replace(POLICY, token_endpoint=ENDPOINT)
    assert mutation(with_sidecar(annotations=BINDING), account(), policy).warnings != ()
    for chosen in ("true", "false"):
        document = with_sidecar(annotations={**BINDING, "inject-proxy-only": chosen})
        assert mutation(document, account(), policy).warnings == ()
    assert mutation(with_sidecar(annotations=BINDING), account(), replace(policy, proxy_only=True)).warnings == ()


def test_inject_command_has_the_annotation_and_the_default_as_an_option() -> None:
    service_account = json.dumps(
        {**account("default"), "metadata": {**account("default")["metadata"], "namespace": "apps"}}
    )
    for document, options in ((pod(annotations=ONLY), ()), (with_sidecar(), ("--inject-proxy-only",))):
        ran = inject(
            f"{service_account}\n---\n{json.dumps(document)}", "-o", "json", "--server-version", "1.34", *options
        )
        assert ran.stderr == ""
        _, end = json.JSONDecoder().raw_decode(ran.stdout)
        assert is_proxy_only(json.loads(ran.stdout[end:]))
    refused = inject(json.dumps(pod(annotations={**ONLY, "inject-proxy-sidecar": "0"})))
    assert refused.status == 1
    assert "inject-proxy-sidecar refuses it" in refused.stderr


@anyhow
@given(PODS, ACCOUNTS, POLICIES, st.sampled_from(({}, ENV)))
def test_no_other_container_has_the_identity(
    document: dict[str, Any], service_account: dict[str, Any], policy: Policy, mode: dict[str, str]
) -> None:
    """No token is mounted, and only variables that the pod already had are present."""
    other_annotations = {
        key: value for key, value in (document["metadata"].get("annotations") or {}).items() if "proxy" not in key
    }
    requested = {f"{PREFIX}{key}": value for key, value in {**ONLY, **mode}.items()}
    before = {**document, "metadata": {**document["metadata"], "annotations": {**other_annotations, **requested}}}
    after = mutate(before, service_account, policy)
    for key in ("initContainers", "containers"):  # a name may be in both
        present = {container["name"]: container for container in before["spec"].get(key) or []}
        for container in after["spec"].get(key) or []:
            if container["name"] != "azwi-proxy":
                assert not has_token(container)
                had = {one["name"] for one in present.get(container["name"], {}).get("env") or []}
                assert {one["name"] for one in container.get("env") or []} & FOUR <= had
