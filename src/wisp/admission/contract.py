"""What the cluster says about admission: one frozen policy, whole and checked. Knows no pod and no environment.

A policy that exists can be applied to any pod: what is wrong with it is a SettingError when it is made.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TypeAlias

from wisp import __version__
from wisp.admission.names import AUDIENCE
from wisp.admission.quantity import quantity
from wisp.azure.clouds import DEFAULT_AUTHORITY, authority_url, is_host, is_tenant, token_proxy_url, without_credentials
from wisp.base.constants import LOG_LEVELS, PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.imds.passthrough import SEGMENTS

DEFAULT_IMAGE = f"wisp:{__version__}"
NATIVE_SINCE = (1, 32)
"""API servers from here on have kubelets of 1.29 or later (version skew policy), which run native sidecars."""
PULL_POLICIES = ("Always", "IfNotPresent", "Never")

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_NAME})?")
"""Source: Kubernetes, "Labels and Selectors", syntax and character set."""
OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
"""Those of a label selector's requirements, and whether they have values."""


class NativeSidecar(Enum):
    """Whether the sidecar is an init container with `restartPolicy: Always`, or an ordinary container."""

    AUTO = "auto"
    """As the API server's version allows; not where that is not known."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a container asks for and may use, as Kubernetes quantities; None: nothing said."""

    cpu_request: str | None = None
    cpu_limit: str | None = None
    memory_request: str | None = None
    memory_limit: str | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and quantity(value) is None:
                raise SettingError(
                    f"{name.replace('_', ' ')} is not a quantity: {value!r}", hint="give one such as 50m or 64Mi"
                )


SIDECAR_RESOURCES = Resources(cpu_request="10m", cpu_limit="500m", memory_request="32Mi", memory_limit="128Mi")
"""The sidecar's own process has 13 MB; the exchange process, for a minute of every hour, 30."""
REDIRECT_RESOURCES = Resources(cpu_request="10m", cpu_limit="500m", memory_request="32Mi", memory_limit="128Mi")


@dataclass(frozen=True)
class ConfigMapCA:
    """The endpoint's authorities are under the key `ca.crt` of this ConfigMap of the pod's namespace."""

    name: str


@dataclass(frozen=True)
class Requirement:
    """One of a label selector's matchExpressions. Raise SettingError where Kubernetes would refuse it."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_label(self.key, *self.values)
        if self.operator not in OPERATORS:
            raise SettingError(
                f"the label selector has an unknown operator: {self.operator!r}", hint=f"use {', '.join(OPERATORS)}"
            )
        if OPERATORS[self.operator] != bool(self.values):
            raise SettingError(
                f"the label selector has {'values' if self.values else 'no values'} for the operator {self.operator}",
                hint="give values for In and NotIn, and for no other",
            )


@dataclass(frozen=True)
class TrustBundleCA:
    """The endpoint's authorities are ClusterTrustBundles, by signer name, labels and requirements on labels.

    Without either, they are all of the signer's. Raise SettingError for labels that Kubernetes would refuse.
    """

    signer_name: str
    labels: tuple[tuple[str, str], ...] = ()
    requirements: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        for key, value in self.labels:
            _check_label(key, value)


def _check_label(key: str, *values: str) -> None:
    if _LABEL_KEY.fullmatch(key) is None:
        raise SettingError(f"the label selector has a key that is not a label's: {key!r}", hint="correct it")
    for value in values:
        if _LABEL_VALUE.fullmatch(value) is None:
            raise SettingError(f"the label selector has a value that is not a label's: {value!r}", hint="correct it")


@dataclass(frozen=True)
class InlineCA:
    """The endpoint's authorities, as PEM text. Raise SettingError where there is no certificate in it."""

    pem: str

    def __post_init__(self) -> None:
        if PEM_BEGIN not in self.pem:
            raise SettingError(
                "--custom-token-endpoint-ca-data holds no certificate", hint="give PEM text with its line breaks"
            )


EndpointCA: TypeAlias = ConfigMapCA | TrustBundleCA | InlineCA


@dataclass(frozen=True, kw_only=True)
class TokenEndpoint:
    """A custom token endpoint (identity bindings), which pods ask for by the annotation `use-<suffix>`.

    Raise SettingError for a suffix without an audience or the reverse, and for what the sidecar would refuse.
    """

    suffix: str
    audience: str
    url: str
    """AZURE_KUBERNETES_TOKEN_PROXY."""
    sni_name: str | None = None
    ca: EndpointCA | None = None

    def __post_init__(self) -> None:
        if not self.suffix or not self.audience:
            raise SettingError(
                "a custom token endpoint has an annotation suffix and an audience, or neither",
                hint="give --custom-token-endpoint-annotation-suffix and --custom-token-endpoint-audience",
            )
        if not _LABEL.issuperset(self.suffix) or len(self.suffix) > 59 or self.suffix[-1] in "-_.":
            raise SettingError(
                f"--custom-token-endpoint-annotation-suffix is none: {self.suffix!r}",
                hint="give letters, digits, - _ and ., at most 59",
            )
        if token_proxy_url(self.url) is None:
            raise SettingError(
                f"--custom-token-endpoint is not an https URL: {without_credentials(self.url)!r}",
                hint="give https, a host and perhaps a port and a path",
            )
        if self.sni_name is not None and not is_host(self.sni_name):
            raise SettingError(
                f"--custom-token-endpoint-sni-name is not a name: {self.sni_name!r}", hint="give a DNS name"
            )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything admission depends on besides a pod and its service account. Raise SettingError where it is wrong."""

    tenant_id: str
    """The cluster's tenant, for service accounts that name none."""
    authority_host: str = DEFAULT_AUTHORITY
    """AZURE_AUTHORITY_HOST: an https URL with a slash at its end."""
    audience: str = AUDIENCE
    proxy_image: str = DEFAULT_IMAGE
    redirect_image: str = DEFAULT_IMAGE
    image_pull_policy: str = "IfNotPresent"
    native_sidecar: NativeSidecar = NativeSidecar.AUTO
    server_version: tuple[int, int] | None = None
    """Of the API server, as `parse_version` gives it; None: not known."""
    proxy_resources: Resources = field(default=SIDECAR_RESOURCES)
    redirect_resources: Resources = field(default=REDIRECT_RESOURCES)
    token_endpoint: TokenEndpoint | None = None
    proxy_only: bool = False
    """Whether the sidecar alone has the identity, in pods that ask for the sidecar and do not say."""
    legacy_token_mount: bool = False
    """Whether the token is also at /var/run/secrets/azure/tokens/azure-identity-token."""
    authority_ca: str | None = None
    """PEM text of authorities that the sidecar trusts for the authority, besides the system's."""
    proxy_log_level: str = "info"
    passthrough: tuple[str, ...] = SEGMENTS
    """What sidecars pass on to the node's metadata service, some of `wisp.imds.passthrough.NAMES`."""

    def __post_init__(self) -> None:
        _check_names(self)
        _check_sidecar(self)
        if self.token_endpoint is not None and self.token_endpoint.audience == self.audience:
            raise SettingError(
                f"--custom-token-endpoint-audience is the default audience: {self.audience!r}",
                hint="give the endpoint its own, so that no token for the one is good for the other",
            )

    @cached_property
    def native(self) -> bool:
        """Whether the sidecar is a native one."""
        if self.native_sidecar is not NativeSidecar.AUTO:
            return self.native_sidecar is NativeSidecar.ALWAYS
        return self.server_version is not None and self.server_version >= NATIVE_SINCE


def _check_names(policy: Policy) -> None:
    if not is_tenant(policy.tenant_id):
        raise SettingError(
            f"--tenant-id is not a tenant: {policy.tenant_id!r}",
            hint="give its GUID (az account show --query tenantId)",
        )
    if authority_url(policy.authority_host) != policy.authority_host:
        raise SettingError(
            f"--authority-host is not an https URL with a final slash: {without_credentials(policy.authority_host)!r}",
            hint=f"give one such as {DEFAULT_AUTHORITY}",
        )
    if not policy.audience.strip():
        raise SettingError("--audience is empty", hint=f"leave it out for {AUDIENCE}")


def _check_sidecar(policy: Policy) -> None:
    for flag, image in (("--proxy-image", policy.proxy_image), ("--redirect-image", policy.redirect_image)):
        if not image or image != "".join(image.split()):
            raise SettingError(f"{flag} is not an image: {image!r}", hint=f"give one such as {DEFAULT_IMAGE}")
    if policy.image_pull_policy not in PULL_POLICIES:
        raise SettingError(
            f"--image-pull-policy is unknown: {policy.image_pull_policy!r}", hint=f"use {', '.join(PULL_POLICIES)}"
        )
    if policy.proxy_log_level not in LOG_LEVELS:
        raise SettingError(
            f"--proxy-log-level is unknown: {policy.proxy_log_level!r}", hint=f"use {', '.join(LOG_LEVELS)}"
        )
    if policy.authority_ca is not None and PEM_BEGIN not in policy.authority_ca:
        raise SettingError("--authority-ca holds no certificate", hint="name a file in PEM form")


def parse_version(text: str) -> tuple[int, int]:
    """Return major and minor of a Kubernetes version: `1.34`, `v1.34.2`, `1.34+`. Raise SettingError."""
    major, _, rest = text.strip().removeprefix("v").partition(".")
    minor = rest.split(".", 1)[0].split("-", 1)[0].rstrip("+")
    if not all(each.isascii() and each.isdigit() and len(each) < 5 for each in (major, minor)):
        raise SettingError(f"not a Kubernetes version: {text!r}", hint="give it as 1.34")
    return int(major), int(minor)
