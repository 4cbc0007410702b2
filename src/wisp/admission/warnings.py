"""Warnings for the author of a pod that is admitted: mistakes, and what will not work.

kubectl prints these. Kubernetes asks for at most 120 characters each and may cut what is over 256, or 4,096 in all
(k8s.io/apiserver, admission webhook warnings).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from wisp import SIDECAR_UID
from wisp.admission import annotations as keys
from wisp.admission.annotations import IdentityRequest, Mode, SidecarRequest, is_labelled, object_or_empty, related_keys
from wisp.admission.injection import MOUNT_PATH, TOKEN_FILE, TOKEN_FILE_VARIABLE, is_native, is_token_mount
from wisp.admission.pod import REDIRECT, SIDECAR, Pod, may_be_windows
from wisp.admission.policy import Policy
from wisp.admission.types import Capabilities, Container, Object, Scalar, Variable
from wisp.azure import is_guid, is_tenant

MAX_LENGTH = 120
MAX_WARNINGS = 12

# Labels and annotations.
LABEL_VALUE = 'the label azure.workload.identity/use is {}: only "true" counts, so nothing is injected'
LABEL_AS_ANNOTATION = "the annotation {} has no effect: azure.workload.identity/use is a label of the pod"
ANNOTATION_AS_LABEL = "the label {} has no effect: it is an annotation of the {}"
MISSPELLED_LABEL = "the label {} is misspelled: write azure.workload.identity/use"
MISSPELLED_ANNOTATION = "the annotation {} is misspelled: write azure.workload.identity/{}"
NO_LABEL = "the annotation {} has no effect: the pod has no label azure.workload.identity/use"
NOT_LABELLED = (
    "service account {} asks for an identity, but the pod has no label azure.workload.identity/use: not injected"
)
UNKNOWN_LABEL = "the label {} is unknown and has no effect"
UNKNOWN = "the annotation {} is unknown and has no effect"
UNKNOWN_ON_ACCOUNT = "the annotation {} of the service account is unknown and has no effect"
ON_POD = "the annotation {} belongs on the pod: it has no effect on the service account"
ON_ACCOUNT = "the annotation {} belongs on the service account: it has no effect on the pod"
NO_EFFECT = "the annotation {} has no effect without inject-proxy-sidecar"

# Values of annotations.
NO_CLIENT_ID = "the service account {} has no annotation client-id: requests must name an identity"
INVALID_CLIENT_ID = "client-id {} of the service account is not a GUID: give the identity's clientId, not its name"
INVALID_TENANT = "tenant-id {} of the service account is not a tenant: give its GUID"
TWO_EXPIRATIONS = "service-account-token-expiration is on the pod and its service account: the pod's applies"
SIDECAR_DECLINED = "inject-proxy-sidecar is {}: no sidecar (azure-workload-identity reads any value as yes)"
NO_BOOLEAN = "inject-proxy-only is {}, which is not a boolean: read as true"
UNKNOWN_SKIPPED = "skip-containers names {}, which is not a container of the pod"
ALL_SKIPPED = "skip-containers names every container: none gets the identity"
SIDECAR_SKIPPED = "skip-containers names azwi-proxy: without the identity the sidecar will not start"
NO_ENDPOINT = "{} asks for a custom token endpoint, which this cluster does not have under that name"
NOT_FORWARDED = "proxy-passthrough names {}, which the cluster does not allow: it is not forwarded"

# Containers.
MOUNTED = "the container {} has its own mount at {}: the token is not there"
OWN_TOKEN_FILE = "the container {} sets AZURE_FEDERATED_TOKEN_FILE itself: Azure SDKs bypass the sidecar"  # noqa: S105
OWN_ENDPOINT = "the container {} sets IDENTITY_ENDPOINT itself: it does not ask the sidecar"
PROXIED = "the container {} sets a proxy: add 127.0.0.1, the sidecar's address, to NO_PROXY"
PORT_TAKEN = "the container {} also declares the sidecar's port {}: choose another with proxy-sidecar-port"
SIDECARS_USER = "the container {} runs as user 1501, the sidecar's: its metadata requests go to the node"
BYPASS = "{} can bypass the redirect (root or NET_RAW): drop ALL or run as non-root, and restrict IMDS"

# The sidecar.
MAY_BE_WINDOWS = "the pod may run on Windows nodes, where there is no sidecar: require kubernetes.io/os=linux"
OTHER_SIDECAR = "the pod has its own container azwi-proxy: it gets the identity and is otherwise unchanged"
NEVER_ENDS = "no native sidecars here: the pod will not end, because the sidecar does not (Jobs stay active)"
NO_INIT = "no native sidecars here: init containers get no token, because the sidecar starts after them"
SHARED_ENDPOINT = (
    "the application also has the endpoint's token: SDKs that send it to Entra fail; use inject-proxy-only"
)
LOW_PORT = "the sidecar's port {} is below 1024: runtimes that restrict those ports will not let it listen"

_GUID_LENGTH = 36
_is_guid = lru_cache(maxsize=1024)(is_guid)  # a cluster has as many as it has identities
_BYPASSING = frozenset({"ALL", "NET_RAW", "NET_ADMIN"})
_DECISIVE = _BYPASSING | {"SETUID"}
_NONE: frozenset[str] = frozenset()
_CLIENT_VARIABLES = frozenset({"IDENTITY_ENDPOINT", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"})
"""Variables that decide where a client sends its requests."""


class _Subject(NamedTuple):
    """What warnings depend on."""

    pod: Pod
    account: Object
    """Metadata of the service account."""
    request: IdentityRequest
    policy: Policy


def warnings_about(pod: Pod, account: Object, request: IdentityRequest, policy: Policy) -> tuple[str, ...]:
    """Return the warnings about a labelled pod; `account` is the valid metadata of its service account."""
    subject = _Subject(pod, account, request, policy)
    checks = (_check_account, _check_keys, _check_skipped, _check_annotations, _check_containers, _check_sidecar)
    return _bounded(warning for check in checks for warning in check(subject))


def warnings_about_unlabelled(metadata: object, account: Object) -> tuple[str, ...]:
    """Return the warnings about a pod without the label and its ServiceAccount, neither of which has been checked."""
    return _bounded(_check_unlabelled(metadata, account))


def warnings_about_unused(account: Object) -> tuple[str, ...]:
    """Return the warnings about a ServiceAccount that no injected pod runs as."""
    return _bounded(_account_keys(account.get("metadata")))


def _bounded(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return the first warnings, and how many more there are: those are counted, not stored."""
    rest = iter(warnings)
    first = tuple(islice(rest, MAX_WARNINGS))
    more = sum(1 for _ in rest)
    return (*first[:-1], f"and {more + 1} more") if more else first


def _warning(text: str, *values: object) -> str:
    """Return a one-line warning, with its values shortened so that it fits."""
    room = (MAX_LENGTH - len(text) + 2 * len(values)) // len(values)
    return text.format(*(_shortened(str(value), room) for value in values))


def _shortened(text: str, room: int) -> str:
    head = text[: room + 1]  # a name may have megabytes
    head = head if head.isprintable() else repr(head)
    return head if len(head) <= room else f"{head[: room - 1]}…"


def _check_unlabelled(metadata: object, account: Object) -> Iterator[str]:
    yield from _pod_keys(metadata)
    if keys.USE not in object_or_empty(metadata, "labels"):
        found = (key for key in object_or_empty(metadata, "annotations") if key in keys.ON_PODS)
        yield from (_warning(NO_LABEL, _suffix(key)) for key in islice(found, 1))
    account_metadata = object_or_empty(account, "metadata")
    if is_labelled(account) or object_or_empty(account_metadata, "annotations").get(keys.CLIENT_ID):
        yield _warning(NOT_LABELLED, account_metadata.get("name"))


def _check_keys(subject: _Subject) -> Iterator[str]:
    yield from _pod_keys({"labels": subject.pod.labels, "annotations": subject.pod.annotations})
    yield from _account_keys(subject.account)


def _pod_keys(metadata: object) -> Iterator[str]:
    """Yield what is wrong with the labels of a pod, and which annotations are misspelled or labels."""
    for key in related_keys(metadata, "labels"):
        if key != keys.USE:
            yield from _check_label(key)
        else:
            value = object_or_empty(metadata, "labels")[key]
            if value != "true" and not keys.is_declined(value):
                yield _warning(LABEL_VALUE, f'"{value}"')
    for key in related_keys(metadata, "annotations"):
        if key == keys.USE:
            yield _warning(LABEL_AS_ANNOTATION, _suffix(key))
        else:
            yield from _check_spelling(key)


def _account_keys(metadata: object) -> Iterator[str]:
    """Yield what is wrong with the labels and annotations of a service account."""
    for key in related_keys(metadata, "labels"):
        if key != keys.USE:  # which has no effect there either, but other projects' guides often set it
            yield from _check_label(key)
    for key in related_keys(metadata, "annotations"):
        if key == keys.USE:
            yield _warning(LABEL_AS_ANNOTATION, _suffix(key))
        elif key not in keys.ON_ACCOUNTS:
            if key in keys.ON_PODS or key.startswith(keys.USE_ENDPOINT):
                yield _warning(ON_POD, _suffix(key))
            elif keys.correct_spelling(key) is not None:
                yield from _check_spelling(key)
            elif key.startswith(keys.PREFIX):
                yield _warning(UNKNOWN_ON_ACCOUNT, _suffix(key))


def _check_label(key: str) -> Iterator[str]:
    known = keys.known_key(key)
    if known == keys.USE:
        yield _warning(MISSPELLED_LABEL, key)
    elif known is not None:
        yield _warning(ANNOTATION_AS_LABEL, _suffix(key), keys.annotated_object(known))
    elif key.startswith(keys.PREFIX):
        yield _warning(UNKNOWN_LABEL, _suffix(key))


def _check_spelling(key: str) -> Iterator[str]:
    correct = keys.correct_spelling(key)
    if correct == keys.USE:
        yield _warning(LABEL_AS_ANNOTATION, key)
    elif correct is not None:
        yield _warning(MISSPELLED_ANNOTATION, key, _suffix(correct))


def _suffix(key: str) -> str:
    return key.removeprefix(keys.PREFIX)


def _check_account(subject: _Subject) -> Iterator[str]:
    annotations = subject.account.get("annotations") or {}
    client_id, tenant = subject.request.client_id, subject.request.tenant
    if not client_id:
        yield _warning(NO_CLIENT_ID, subject.account.get("name") or "default")
    elif len(client_id) != _GUID_LENGTH or not _is_guid(client_id):
        yield _warning(INVALID_CLIENT_ID, f'"{client_id}"')
    if tenant and tenant != subject.policy.tenant_id and not is_tenant(tenant):
        yield _warning(INVALID_TENANT, f'"{tenant}"')
    if annotations.get(keys.EXPIRATION) and subject.pod.annotations.get(keys.EXPIRATION):
        yield TWO_EXPIRATIONS


def _check_skipped(subject: _Subject) -> Iterator[str]:
    pod, skipped, sidecar = subject.pod, subject.request.skipped, subject.request.sidecar
    if not skipped:
        return
    known = {*pod.named, *((SIDECAR, REDIRECT) if sidecar else ())}
    for name in sorted(skipped - known):
        yield _warning(UNKNOWN_SKIPPED, name)
    # With the redirect and inject-proxy-only, the application's containers get nothing, skipped or not.
    gets_nothing = sidecar is not None and sidecar.has_identity_alone and sidecar.mode is Mode.REDIRECT
    if pod.named and not gets_nothing and all(container.name in skipped for container in (*pod.own, *pod.own_init)):
        yield ALL_SKIPPED
    if SIDECAR in skipped and sidecar is not None:
        yield SIDECAR_SKIPPED


def _check_annotations(subject: _Subject) -> Iterator[str]:
    annotations, sidecar = subject.pod.annotations, subject.request.sidecar
    text = annotations.get(keys.INJECT_SIDECAR)
    if text is not None and not keys.requests_sidecar(annotations):
        yield _warning(SIDECAR_DECLINED, f'"{text}"')
    only = annotations.get(keys.PROXY_ONLY)
    if only is not None and not keys.is_boolean(only):
        yield _warning(NO_BOOLEAN, f'"{only}"')
    for key in islice(annotations, keys.MAX_COMPARED):
        if key.startswith(keys.PREFIX):
            yield from _check_annotation(key, subject)
    if sidecar is not None:
        for name in keys.read_passthrough(annotations, subject.policy):
            if name not in sidecar.passthrough:
                yield _warning(NOT_FORWARDED, name)


def _check_annotation(key: str, subject: _Subject) -> Iterator[str]:
    endpoint = subject.request.endpoint
    if key in keys.ON_PODS:
        if key in keys.SIDECAR_SETTINGS and subject.request.sidecar is None:
            yield _warning(NO_EFFECT, _suffix(key))
    elif key in keys.ON_ACCOUNTS:
        yield _warning(ON_ACCOUNT, _suffix(key))
    elif not key.startswith(keys.USE_ENDPOINT):
        if key != keys.USE and keys.correct_spelling(key) is None:  # otherwise `_check_keys` has warned
            yield _warning(UNKNOWN, _suffix(key))
    elif subject.pod.annotations[key].lower() == "true" and (
        endpoint is None or key != keys.USE_ENDPOINT + endpoint.suffix
    ):
        yield _warning(NO_ENDPOINT, _suffix(key))


def _check_containers(subject: _Subject) -> Iterator[str]:
    """Warn of other mounts where the token should be, and of a token where there should be none."""
    skipped, sidecar = {REDIRECT, *subject.request.skipped}, subject.request.sidecar
    for name, container in subject.pod.named.items():
        if name in skipped:
            continue
        if sidecar is not None and sidecar.has_identity_alone and name != SIDECAR:
            if _has_own_token_file(container):
                yield _warning(OWN_TOKEN_FILE, name)
            continue
        for mount in container.volumeMounts or ():
            if mount.mountPath == MOUNT_PATH and not is_token_mount(mount):
                yield _warning(MOUNTED, name, MOUNT_PATH)


def _has_own_token_file(container: Container) -> bool:
    """Check whether a container sets the SDKs' variable itself; that of an earlier mutation is removed."""
    injected = None
    if any(map(is_token_mount, container.volumeMounts or ())):
        injected = Variable(TOKEN_FILE_VARIABLE, TOKEN_FILE)
    return any(variable.name == TOKEN_FILE_VARIABLE and variable != injected for variable in container.env or ())


def _check_sidecar(subject: _Subject) -> Iterator[str]:
    pod, sidecar = subject.pod, subject.request.sidecar
    if sidecar is None:
        return
    if may_be_windows(pod.spec):
        yield MAY_BE_WINDOWS
    present = pod.named.get(SIDECAR)
    if present is not None and present.image != subject.policy.proxy_image:
        yield OTHER_SIDECAR
    if not is_native(pod, subject.policy):
        if pod.spec.restartPolicy in ("Never", "OnFailure"):
            yield NEVER_ENDS
        if pod.own_init:
            yield NO_INIT
    has_chosen = sidecar.has_identity_alone or keys.PROXY_ONLY in pod.annotations
    if subject.request.endpoint is not None and not has_chosen:
        yield SHARED_ENDPOINT
    if sidecar.port < 1024:
        yield _warning(LOW_PORT, sidecar.port)
    yield from _check_neighbours(pod, subject.request.skipped, sidecar)


def _check_neighbours(pod: Pod, skipped: frozenset[str], sidecar: SidecarRequest) -> Iterator[str]:
    """Warn of containers that conflict with the sidecar or whose requests do not reach it."""
    for container in (*pod.own_init, *pod.own):
        if any(port.containerPort == sidecar.port for port in container.ports or ()):
            yield _warning(PORT_TAKEN, container.name, sidecar.port)
        if _user(container, pod) == SIDECAR_UID:
            yield _warning(SIDECARS_USER, container.name)
        if sidecar.mode is Mode.ENV and container.name not in skipped:
            yield from _check_variables(container)
    if sidecar.mode is Mode.REDIRECT:
        bypassing = [str(container.name) for container in (*pod.own, *pod.own_init) if _can_bypass(container, pod)]
        if bypassing:
            more = f" and {len(bypassing) - 1} more" if len(bypassing) > 1 else ""
            yield _warning(BYPASS, bypassing[0] + more)


def _check_variables(container: Container) -> Iterator[str]:
    values = {variable.name: variable.value for variable in container.env or () if variable.name in _CLIENT_VARIABLES}
    if "IDENTITY_ENDPOINT" in values and not str(values["IDENTITY_ENDPOINT"]).startswith("http://127.0.0.1:"):
        yield _warning(OWN_ENDPOINT, container.name)
    exempt = [str(values.get(name)) for name in ("NO_PROXY", "no_proxy")]
    if {"HTTP_PROXY", "http_proxy"} & values.keys() and not any("127.0.0" in text or "*" in text for text in exempt):
        yield _warning(PROXIED, container.name)


def _can_bypass(container: Container, pod: Pod) -> bool:
    """Check whether a container can become the sidecar's user or send raw packets.

    Root can do both unless the capabilities are dropped: SETUID is in every runtime's default set, and NET_RAW in
    containerd's (CRI-O removed it in 1.18). Privileged containers and NET_ADMIN can remove the redirect.
    """
    context = container.securityContext
    if context is not None:
        capabilities = context.capabilities or Capabilities()
        added, dropped = _decisive(capabilities.add), _decisive(capabilities.drop)
        if context.privileged is True or not added.isdisjoint(_BYPASSING):
            return True
        if "SETUID" not in added and ("ALL" in dropped or dropped >= {"SETUID", "NET_RAW"}):
            return False
    user = _user(container, pod)
    return user == 0 or (user is None and not _is_non_root(container, pod))


def _decisive(capabilities: list[str] | None) -> frozenset[str]:
    """Return the capabilities in a list that decide whether a container can bypass the redirect."""
    return _DECISIVE.intersection(name.upper().removeprefix("CAP_") for name in capabilities) if capabilities else _NONE


def _user(container: Container, pod: Pod) -> Scalar:
    """Return the user that a container runs as, or None if the image decides."""
    for context in (container.securityContext, pod.spec.securityContext):
        if context is not None and context.runAsUser is not None:
            return context.runAsUser
    return None


def _is_non_root(container: Container, pod: Pod) -> bool:
    """Check whether the kubelet refuses to start the container as root."""
    for context in (container.securityContext, pod.spec.securityContext):
        if context is not None and context.runAsNonRoot is not None:
            return context.runAsNonRoot is True
    return False
