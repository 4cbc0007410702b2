"""Decides what a pod's maker should hear though the pod is admitted: mistakes, and what will not work. Pure.

kubectl prints these. Kubernetes asks for at most 120 characters each and may cut what is over 256, or 4,096 in all
(k8s.io/apiserver, admission webhook warnings).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from wisp import SIDECAR_UID
from wisp.admission import keys, names, windows
from wisp.admission.contract import Policy
from wisp.admission.identity import is_token_mount
from wisp.admission.pod import Pod, is_labelled
from wisp.admission.shape import (
    Capabilities,
    Container,
    Object,
    Scalar,
    Variable,
    object_or_empty,
)
from wisp.admission.sidecar import is_native
from wisp.admission.wanted import Mode, Sidecar, Wanted, is_boolean, passthrough_of, wants_sidecar
from wisp.azure.clouds import is_guid, is_tenant

_GUID = 36
"""Characters of a GUID: nothing longer is remembered."""
_is_guid = lru_cache(maxsize=1024)(is_guid)  # a cluster has as many as it has identities
LONGEST = 120
MOST = 12

NOT_LABELLED = (
    "the service account {} wants identities, but the pod has no label azure.workload.identity/use: nothing put in"
)
SAYS_NO = "inject-proxy-sidecar is {}: no sidecar (azure-workload-identity takes any value for yes)"
NO_CLIENT_ID = "the service account {} has no annotation client-id: requests must name an identity"
NO_GUID = "client-id {} of the service account is no GUID: give the identity's clientId, not its name"
NO_TENANT = "tenant-id {} of the service account is no tenant: give its GUID"
BOTH = "service-account-token-expiration is on the pod and its service account: the pod's counts"
UNKNOWN_SKIPPED = "skip-containers names {}, which the pod has not"
ALL_SKIPPED = "skip-containers names every container: none gets the identity"
SIDECAR_SKIPPED = "skip-containers names azwi-proxy: without the identity the sidecar will not start"
NO_EFFECT = "the annotation {} means nothing without inject-proxy-sidecar"
UNKNOWN = "the annotation {} is unknown here: it means nothing"
ON_ACCOUNT = "the annotation {} belongs on the service account: on a pod it means nothing"
NO_ENDPOINT = "{} asks for a custom token endpoint, which this cluster does not have under that name"
NEVER_ENDS = "no native sidecars here: the pod will not end, as the sidecar does not (Jobs stay active)"
NO_INIT = "no native sidecars here: init containers get no token, as the sidecar starts after them"
PORT_TAKEN = "the container {} declares the sidecar's port {}, too: choose another by proxy-sidecar-port"
LOW_PORT = "the sidecar's port {} is below 1024: runtimes that guard those ports will not let it listen"
SIDECARS_USER = "the container {} runs as user 1501, the sidecar's: its metadata requests go to the node"
OTHER_SIDECAR = "the pod has a container azwi-proxy of its own: left as it is but for its identity"
MOUNTED = "the container {} mounts something of its own at {}: the token is not there"
NO_BOOLEAN = "inject-proxy-only is {}, which is not a boolean: taken for true"
GOES_PAST = "the container {} sets AZURE_FEDERATED_TOKEN_FILE itself: Azure SDKs go past the sidecar"
NOT_ONLY = "the application has the endpoint's token, too: SDKs that send it to Entra fail; use inject-proxy-only"
TOLD_OTHERWISE = "the container {} sets IDENTITY_ENDPOINT itself: it does not ask the sidecar"
PROXIED = "the container {} sets a proxy: have NO_PROXY name 127.0.0.1, where the sidecar is"
NOT_PASSED_ON = "proxy-passthrough names {}, which the cluster does not allow: it is not passed on"
MAY_BE_WINDOWS = "the pod may run on Windows nodes, where there is no sidecar: require kubernetes.io/os=linux"
BYPASS = "{} can bypass the redirect (root or NET_RAW): drop ALL or run as non-root, and restrict IMDS"
_WAYS_AROUND = frozenset({"ALL", "NET_RAW", "NET_ADMIN"})
_DECISIVE = _WAYS_AROUND | {"SETUID"}
_NONE: frozenset[str] = frozenset()
_CLIENT_VARIABLES = frozenset({"IDENTITY_ENDPOINT", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"})
"""Variables that decide where a client sends its requests."""


class _About(NamedTuple):
    """What a warning may depend on."""

    pod: Pod
    account: Object
    wanted: Wanted
    policy: Policy


def advice(pod: Pod, account: Object, wanted: Wanted, policy: Policy) -> tuple[str, ...]:
    """Return the warnings about a pod; `account` is the metadata of its service account, found to be in order."""
    about = _About(pod, account, wanted, policy)
    kinds = (_of_account, _of_keys, _of_skipping, _of_annotations, _of_passthrough, _of_containers, _of_sidecar)
    return _bounded(warning for each in kinds for warning in each(about))


def advice_unlabelled(metadata: object, account: Object) -> tuple[str, ...]:
    """Return the warnings about a pod without the label that runs as `account`, a ServiceAccount.

    Nothing of the pod's metadata and of the account has been checked.
    """
    return _bounded(_of_unlabelled(metadata, account))


def _of_unlabelled(metadata: object, account: Object) -> Iterator[str]:
    for misuse in (*keys.of_pod(metadata), *keys.of_unlabelled(metadata)):
        yield _say(*misuse)
    accounts = object_or_empty(account, "metadata")
    if is_labelled(account) or object_or_empty(accounts, "annotations").get(names.CLIENT_ID):
        yield _say(NOT_LABELLED, accounts.get("name"))


def advice_unused(account: Object) -> tuple[str, ...]:
    """Return the warnings about a ServiceAccount that no pod here runs as."""
    return _bounded(_say(*each) for each in keys.of_account(account.get("metadata")))


def _bounded(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return the first warnings, and how many more there are: they are counted, not kept."""
    rest = iter(warnings)
    first = tuple(islice(rest, MOST))
    more = sum(1 for _ in rest)
    return (*first[:-1], f"and {more + 1} more") if more else first


def _say(text: str, *about: object) -> str:
    """Return the warning, what it is about shortened so that all of it fits, and without line ends."""
    room = (LONGEST - len(text) + 2 * len(about)) // max(len(about), 1)
    return text.format(*(_short(str(each), room) for each in about))


def _short(text: str, room: int) -> str:
    head = text[: room + 1]  # of a name of megabytes, no more is looked at
    head = head if head.isprintable() else repr(head)
    return head if len(head) <= room else f"{head[: room - 1]}…"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _of_account(about: _About) -> Iterator[str]:
    annotations = about.account.get("annotations") or {}
    client_id, tenant = about.wanted.client_id, about.wanted.tenant
    if not client_id:
        yield _say(NO_CLIENT_ID, about.account.get("name") or "default")
    elif len(client_id) != _GUID or not _is_guid(client_id):
        yield _say(NO_GUID, _quoted(client_id))
    if tenant and tenant != about.policy.tenant_id and not is_tenant(tenant):
        yield _say(NO_TENANT, _quoted(tenant))
    if annotations.get(names.EXPIRATION) and about.pod.annotations.get(names.EXPIRATION):
        yield BOTH


def _of_keys(about: _About) -> Iterator[str]:
    """Warn of labels and annotations that are in the wrong place, or spelled wrongly."""
    metadata = {"labels": about.pod.labels, "annotations": about.pod.annotations}
    for misuse in (*keys.of_pod(metadata), *keys.of_account(about.account)):
        yield _say(*misuse)


def _of_passthrough(about: _About) -> Iterator[str]:
    if about.wanted.sidecar is not None:
        for name in passthrough_of(about.pod.annotations, about.policy):
            if name not in about.wanted.sidecar.passthrough:
                yield _say(NOT_PASSED_ON, name)


def _of_skipping(about: _About) -> Iterator[str]:
    skipped = about.wanted.skipped
    if not skipped:
        return
    known = {*about.pod.named, *((names.SIDECAR, names.REDIRECT) if about.wanted.sidecar else ())}
    for name in sorted(skipped - known):
        yield _say(UNKNOWN_SKIPPED, name)
    all_skipped = all(each.name in skipped for each in (*about.pod.own, *about.pod.own_init))
    if about.pod.named and all_skipped and not _leaves_application_alone(about.wanted.sidecar):
        yield ALL_SKIPPED
    if names.SIDECAR in skipped and about.wanted.sidecar is not None:
        yield SIDECAR_SKIPPED


def _of_annotations(about: _About) -> Iterator[str]:
    annotations = about.pod.annotations
    text = annotations.get(names.INJECT_SIDECAR)
    if text is not None and not wants_sidecar(annotations):
        yield _say(SAYS_NO, _quoted(text))
    only = annotations.get(names.PROXY_ONLY)
    if only is not None and not is_boolean(only):
        yield _say(NO_BOOLEAN, _quoted(only))
    for key in islice(annotations, keys.MOST):
        if key.startswith(names.PREFIX):
            yield from _of_annotation(key, about)


def _of_annotation(key: str, about: _About) -> Iterator[str]:
    short = key.removeprefix(names.PREFIX)
    if key in names.ON_PODS:
        if key in names.SIDECAR_SETTINGS and about.wanted.sidecar is None:
            yield _say(NO_EFFECT, short)
    elif key in names.ON_ACCOUNTS:
        yield _say(ON_ACCOUNT, short)
    elif not key.startswith(names.USE_ENDPOINT):
        if key != names.USE and keys.intended(key) is None:  # else `_of_keys` says more
            yield _say(UNKNOWN, short)
    elif about.pod.annotations[key].lower() == "true" and not _is_served(key, about.wanted):
        yield _say(NO_ENDPOINT, short)


def _is_served(key: str, wanted: Wanted) -> bool:
    return wanted.endpoint is not None and key == names.USE_ENDPOINT + wanted.endpoint.suffix


def _of_containers(about: _About) -> Iterator[str]:
    """Warn of what stands where the token should be, and of a token where none should be."""
    out_of_it, sidecar = {names.REDIRECT, *about.wanted.skipped}, about.wanted.sidecar
    for name, container in about.pod.named.items():
        if name in out_of_it:
            continue
        if sidecar is not None and sidecar.has_identity_alone and name != names.SIDECAR:
            if _goes_past(container):
                yield _say(GOES_PAST, name)
            continue
        for mount in container.volumeMounts or ():
            if mount.mountPath == names.MOUNT_PATH and not is_token_mount(mount):
                yield _say(MOUNTED, name, names.MOUNT_PATH)


def _goes_past(container: Container) -> bool:
    """Say whether a container has the SDKs' variable by its own doing: an earlier mutation's is taken away."""
    usual = None
    if any(map(is_token_mount, container.volumeMounts or ())):
        usual = Variable(names.TOKEN_FILE_VARIABLE, names.TOKEN_FILE)
    return any(each.name == names.TOKEN_FILE_VARIABLE and each != usual for each in container.env or ())


def _leaves_application_alone(sidecar: Sidecar | None) -> bool:
    """Say whether the application's containers get nothing, named in skip-containers or not."""
    return sidecar is not None and sidecar.has_identity_alone and sidecar.mode is Mode.REDIRECT


def _of_sidecar(about: _About) -> Iterator[str]:
    pod, sidecar = about.pod, about.wanted.sidecar
    if sidecar is None:
        return
    if windows.may_be_windows(pod.spec):
        yield MAY_BE_WINDOWS
    there = pod.named.get(names.SIDECAR)
    if there is not None and there.image != about.policy.proxy_image:
        yield OTHER_SIDECAR
    if not is_native(pod, about.policy):
        if pod.spec.restartPolicy in ("Never", "OnFailure"):
            yield NEVER_ENDS
        if pod.own_init:
            yield NO_INIT
    has_chosen = sidecar.has_identity_alone or names.PROXY_ONLY in pod.annotations
    if about.wanted.endpoint is not None and not has_chosen:
        yield NOT_ONLY
    if sidecar.port < 1024:
        yield _say(LOW_PORT, sidecar.port)
    yield from _of_neighbours(about, sidecar)


def _of_neighbours(about: _About, sidecar: Sidecar) -> Iterator[str]:
    """Warn of containers that are in the sidecar's way, or do not come to it."""
    pod = about.pod
    for container in (*pod.own_init, *pod.own):
        if any(each.containerPort == sidecar.port for each in container.ports or ()):
            yield _say(PORT_TAKEN, container.name, sidecar.port)
        if _user(container, pod) == SIDECAR_UID:
            yield _say(SIDECARS_USER, container.name)
        if sidecar.mode is Mode.ENV and container.name not in about.wanted.skipped:
            yield from _of_variables(container)
    if sidecar.mode is Mode.REDIRECT:
        yield from _of_bypass(pod)


def _of_bypass(pod: Pod) -> Iterator[str]:
    """Warn once of the containers that can send requests past the redirect."""
    able = [str(each.name) for each in (*pod.own, *pod.own_init) if _can_bypass(each, pod)]
    if able:
        yield _say(BYPASS, able[0] if len(able) == 1 else f"{able[0]} and {len(able) - 1} more")


def _can_bypass(container: Container, pod: Pod) -> bool:
    """Say whether a container can become the sidecar's user or send raw packets.

    Root can do both unless the capabilities are dropped: SETUID is in every runtime's default set, and NET_RAW in
    containerd's (CRI-O took it out in 1.18). Privileged containers and NET_ADMIN can remove the redirect.
    """
    context = container.securityContext
    if context is not None:
        capabilities = context.capabilities or Capabilities()
        added, dropped = _decisive(capabilities.add), _decisive(capabilities.drop)
        if context.privileged is True or not added.isdisjoint(_WAYS_AROUND):
            return True
        if "SETUID" not in added and ("ALL" in dropped or dropped >= {"SETUID", "NET_RAW"}):
            return False
    user = _user(container, pod)
    return user == 0 or (user is None and not _is_non_root(container, pod))


def _decisive(capabilities: list[str] | None) -> frozenset[str]:
    """Return those capabilities in a list that decide whether a container can bypass the redirect."""
    return _DECISIVE.intersection(each.upper().removeprefix("CAP_") for each in capabilities) if capabilities else _NONE


def _user(container: Container, pod: Pod) -> Scalar:
    """Return the user that a container runs as; None where the image decides."""
    for context in (container.securityContext, pod.spec.securityContext):
        if context is not None and context.runAsUser is not None:
            return context.runAsUser
    return None


def _is_non_root(container: Container, pod: Pod) -> bool:
    """Say whether the kubelet refuses to start the container as root."""
    for context in (container.securityContext, pod.spec.securityContext):
        if context is not None and context.runAsNonRoot is not None:
            return context.runAsNonRoot is True
    return False


def _of_variables(container: Container) -> Iterator[str]:
    values = {each.name: each.value for each in container.env or () if each.name in _CLIENT_VARIABLES}
    if "IDENTITY_ENDPOINT" in values and not str(values["IDENTITY_ENDPOINT"]).startswith("http://127.0.0.1:"):
        yield _say(TOLD_OTHERWISE, container.name)
    exempt = [str(values.get(each)) for each in ("NO_PROXY", "no_proxy")]
    if {"HTTP_PROXY", "http_proxy"} & values.keys() and not any("127.0.0" in each or "*" in each for each in exempt):
        yield _say(PROXIED, container.name)
