"""The cluster's settings for admission: one frozen policy, checked when it is created.

A policy that exists can be applied to any pod. It depends on neither a pod nor the environment.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TypeAlias

from wisp import __version__
from wisp.azure import DEFAULT_AUTHORITY, authority_url, is_host, is_tenant, token_proxy_url, without_credentials
from wisp.base.constants import LOG_LEVELS, PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.imds.passthrough import SEGMENTS

AUDIENCE = "api://AzureADTokenExchange"
DEFAULT_IMAGE = f"wisp:{__version__}"
NATIVE_SINCE = (1, 32)
"""API servers from this version on have kubelets of 1.29 or later (version skew policy), which run native sidecars."""
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
"""Operators of a label selector's requirements, and whether they have values."""

_SUFFIX = re.compile(r"[-A-Za-z0-9_.]{0,58}[A-Za-z0-9]")
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_NAME})?")
"""Source: Kubernetes, "Labels and Selectors", syntax and character set."""

_QUANTITY = re.compile(
    r"\+?([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:([eE][+-]?[0-9]{1,2})|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])?)"
)
_SCALES = {
    **{name: Fraction(1000) ** power for name, power in zip("num kMGTPE", range(-3, 7), strict=True)},
    **{name: Fraction(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def parse_quantity(text: str) -> Fraction | None:
    """Return the amount of a Kubernetes quantity (cores or bytes), or None if it is not one or is negative.

    Source: k8s.io/apimachinery/pkg/api/resource, Quantity.
    """
    return _cached_quantity(text) if len(text) <= _CACHED_LENGTH else _quantity(text)


def _quantity(text: str) -> Fraction | None:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    number, exponent, suffix = found.groups()
    scale = Fraction(10) ** int(exponent[1:]) if exponent else _SCALES.get(suffix or " ", Fraction(1))
    return Fraction(f"0{number}" if number[0] == "." else number.rstrip(".")) * scale


_CACHED_LENGTH = 16
"""Characters of quantities worth caching: pods repeat the same few, and fractions are slow."""
_cached_quantity = lru_cache(maxsize=256)(_quantity)


class NativeSidecar(Enum):
    """Whether the sidecar is an init container with `restartPolicy: Always`, or an ordinary container."""

    AUTO = "auto"
    """Native if the API server's version is known to support it."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Requests and limits of a container, as Kubernetes quantities; None: not set."""

    cpu_request: str | None = None
    cpu_limit: str | None = None
    memory_request: str | None = None
    memory_limit: str | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and parse_quantity(value) is None:
                raise SettingError(
                    f"{name.replace('_', ' ')} is not a quantity: {value!r}", hint="give one such as 50m or 64Mi"
                )


SIDECAR_RESOURCES = Resources(cpu_request="10m", cpu_limit="500m", memory_request="32Mi", memory_limit="128Mi")
"""The sidecar's own process takes 13 MB; the exchange process, for a minute of every hour, 30 MB."""
REDIRECT_RESOURCES = Resources(cpu_request="10m", cpu_limit="500m", memory_request="32Mi", memory_limit="128Mi")


@dataclass(frozen=True)
class ConfigMapCA:
    """The endpoint's CA is under the key `ca.crt` of this ConfigMap in the pod's namespace."""

    name: str


def _check_label(key: str, *values: str) -> None:
    if _LABEL_KEY.fullmatch(key) is None:
        raise SettingError(f"the label selector has an invalid label key: {key!r}", hint="correct it")
    for value in values:
        if _LABEL_VALUE.fullmatch(value) is None:
            raise SettingError(f"the label selector has an invalid label value: {value!r}", hint="correct it")


@dataclass(frozen=True)
class Requirement:
    """One of a label selector's matchExpressions. Raise SettingError where Kubernetes would reject it."""

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
                hint="give values for In and NotIn only",
            )


@dataclass(frozen=True)
class TrustBundleCA:
    """The endpoint's CA is in ClusterTrustBundles, selected by signer, labels and requirements on labels.

    Without labels and requirements, all bundles of the signer count. Raise SettingError for labels that Kubernetes
    would reject.
    """

    signer_name: str
    labels: tuple[tuple[str, str], ...] = ()
    requirements: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        for key, value in self.labels:
            _check_label(key, value)


@dataclass(frozen=True)
class InlineCA:
    """The endpoint's CA as PEM text. Raise SettingError if it holds no certificate."""

    pem: str

    def __post_init__(self) -> None:
        if PEM_BEGIN not in self.pem:
            raise SettingError(
                "--custom-token-endpoint-ca-data holds no certificate", hint="give PEM text with its line breaks"
            )


@dataclass(frozen=True)
class UnknownCA:
    """The endpoint's CA will be in `file`, in which there is none yet. Pods that ask for the endpoint have to wait."""

    file: str


EndpointCA: TypeAlias = ConfigMapCA | TrustBundleCA | InlineCA | UnknownCA


@dataclass(frozen=True, kw_only=True)
class CustomTokenEndpoint:
    """A custom token endpoint (identity bindings), which pods request by the annotation `use-<suffix>`.

    Raise SettingError if only one of suffix and audience is given, and for values that the sidecar would reject.
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
                "a custom token endpoint needs both an annotation suffix and an audience",
                hint="give --custom-token-endpoint-annotation-suffix and --custom-token-endpoint-audience",
            )
        if _SUFFIX.fullmatch(self.suffix) is None:
            raise SettingError(
                f"--custom-token-endpoint-annotation-suffix is invalid: {self.suffix!r}",
                hint="give at most 59 letters, digits, -, _ and ., with a letter or digit at the end",
            )
        if token_proxy_url(self.url) is None:
            raise SettingError(
                f"--custom-token-endpoint is not an https URL: {without_credentials(self.url)!r}",
                hint="give https, a host and, if needed, a port and a path",
            )
        if self.sni_name is not None and not is_host(self.sni_name):
            raise SettingError(
                f"--custom-token-endpoint-sni-name is not a DNS name: {self.sni_name!r}", hint="give a DNS name"
            )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything admission depends on besides a pod and its service account. Raise SettingError for wrong settings."""

    tenant_id: str
    """The cluster's tenant, for service accounts that name none."""
    authority_host: str = DEFAULT_AUTHORITY
    """AZURE_AUTHORITY_HOST: an https URL with a trailing slash."""
    audience: str = AUDIENCE
    proxy_image: str = DEFAULT_IMAGE
    redirect_image: str = DEFAULT_IMAGE
    image_pull_policy: str = "IfNotPresent"
    native_sidecar: NativeSidecar = NativeSidecar.AUTO
    server_version: tuple[int, int] | None = None
    """The API server's version, as `parse_version` returns it; None: unknown."""
    proxy_resources: Resources = field(default=SIDECAR_RESOURCES)
    redirect_resources: Resources = field(default=REDIRECT_RESOURCES)
    token_endpoint: CustomTokenEndpoint | None = None
    proxy_only: bool = False
    """Whether the sidecar alone has the identity in pods that ask for the sidecar without `inject-proxy-only`."""
    legacy_token_mount: bool = False
    """Whether the token is also at /var/run/secrets/azure/tokens/azure-identity-token."""
    authority_ca: str | None = None
    """PEM text of CAs that the sidecar trusts for the authority, in addition to the system's."""
    proxy_log_level: str = "info"
    passthrough: tuple[str, ...] = SEGMENTS
    """What sidecars forward to the node's metadata service: some of `wisp.imds.passthrough.NAMES`."""

    def __post_init__(self) -> None:
        checks = (
            (
                not is_tenant(self.tenant_id),
                f"--tenant-id is not a tenant: {self.tenant_id!r}",
                "give its GUID (az account show --query tenantId)",
            ),
            (
                authority_url(self.authority_host) != self.authority_host,
                f"--authority-host is not an https URL ending in /: {without_credentials(self.authority_host)!r}",
                f"give one such as {DEFAULT_AUTHORITY}",
            ),
            (not self.audience.strip(), "--audience is empty", f"leave it out for {AUDIENCE}"),
            *(
                (
                    not image or image != "".join(image.split()),
                    f"{flag} is not an image: {image!r}",
                    f"give one such as {DEFAULT_IMAGE}",
                )
                for flag, image in (("--proxy-image", self.proxy_image), ("--redirect-image", self.redirect_image))
            ),
            (
                self.image_pull_policy not in PULL_POLICIES,
                f"--image-pull-policy is unknown: {self.image_pull_policy!r}",
                f"use {', '.join(PULL_POLICIES)}",
            ),
            (
                self.proxy_log_level not in LOG_LEVELS,
                f"--proxy-log-level is unknown: {self.proxy_log_level!r}",
                f"use {', '.join(LOG_LEVELS)}",
            ),
            (
                self.authority_ca is not None and PEM_BEGIN not in self.authority_ca,
                "--authority-ca holds no certificate",
                "name a file in PEM form",
            ),
            (
                self.token_endpoint is not None and self.token_endpoint.audience == self.audience,
                f"--custom-token-endpoint-audience is the default audience: {self.audience!r}",
                "give the endpoint an audience of its own, so that neither accepts the other's tokens",
            ),
        )
        for is_wrong, problem, hint in checks:
            if is_wrong:
                raise SettingError(problem, hint=hint)

    @cached_property
    def native(self) -> bool:
        """Whether the sidecar is a native one."""
        if self.native_sidecar is not NativeSidecar.AUTO:
            return self.native_sidecar is NativeSidecar.ALWAYS
        return self.server_version is not None and self.server_version >= NATIVE_SINCE


def parse_version(text: str) -> tuple[int, int]:
    """Return major and minor of a Kubernetes version such as `1.34`, `v1.34.2` or `1.34+`. Raise SettingError."""
    major, _, rest = text.strip().removeprefix("v").partition(".")
    minor = rest.split(".", 1)[0].split("-", 1)[0].rstrip("+")
    if not all(number.isascii() and number.isdigit() and len(number) < 5 for number in (major, minor)):
        raise SettingError(f"not a Kubernetes version: {text!r}", hint="give it as 1.34")
    return int(major), int(minor)
