"""The options for what admission adds to pods, shared by the commands that do: they become one `Policy`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from wisp.admission.policy import (
    AUDIENCE,
    DEFAULT_IMAGE,
    PULL_POLICIES,
    REDIRECT_RESOURCES,
    SIDECAR_RESOURCES,
    ConfigMapCA,
    CustomTokenEndpoint,
    EndpointCA,
    InlineCA,
    NativeSidecar,
    Policy,
    Requirement,
    Resources,
    TrustBundleCA,
    UnknownCA,
)
from wisp.azure import CLOUDS, DEFAULT_AUTHORITY, authority_url, cloud_named, without_credentials
from wisp.base.constants import LOG_LEVELS
from wisp.base.errors import SettingError
from wisp.base.pem import only_certificates
from wisp.cli.options import option_group
from wisp.imds.passthrough import NAMES, SEGMENTS, read_names

_FILE = click.Path(path_type=Path)
_AMOUNTS = ("cpu_request", "cpu_limit", "memory_request", "memory_limit")
_ENDPOINT = "--custom-token-endpoint"


def _option(flag: str, description: str, **attributes: Any) -> Callable[[Any], Any]:
    shows_default = attributes.get("default") is not None
    return click.option(flag, help=description, show_default=shows_default, **attributes)


def _amounts(prefix: str, container: str, default: Resources) -> list[Callable[[Any], Any]]:
    return [
        _option(
            f"--{prefix}-{name.replace('_', '-')}",
            f"The {container}'s {name.replace('_', ' ')}; empty for none.",
            default=getattr(default, name),
            metavar="QUANTITY",
        )
        for name in _AMOUNTS
    ]


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option("--tenant-id", "Tenant of the cluster.", envvar="AZURE_TENANT_ID", required=True, metavar="T"),
    _option(
        "--environment",
        f"Azure cloud: {', '.join(cloud.name for cloud in CLOUDS)}.",
        envvar="AZURE_ENVIRONMENT",
        default=CLOUDS[0].name,
        metavar="CLOUD",
    ),
    _option(
        "--authority-host", "Authority to use instead of the cloud's.", envvar="AZURE_AUTHORITY_HOST", metavar="URL"
    ),
    _option("--audience", "Audience of the projected tokens.", default=AUDIENCE),
    _option("--proxy-image", "Image of the sidecar container.", default=DEFAULT_IMAGE),
    _option("--redirect-image", "Image of the redirect container; by default, the sidecar's image."),
    _option(
        "--image-pull-policy",
        "Image pull policy for the sidecar and redirect containers.",
        type=click.Choice(PULL_POLICIES),
        default="IfNotPresent",
    ),
    _option(
        "--native-sidecar",
        "Whether the sidecar is a native one (an init container that keeps running); auto: from API server 1.32 on.",
        type=click.Choice([choice.value for choice in NativeSidecar]),
        default=NativeSidecar.AUTO.value,
    ),
    *_amounts("proxy", "sidecar", SIDECAR_RESOURCES),
    *_amounts("redirect", "redirect", REDIRECT_RESOURCES),
    _option("--proxy-log-level", "Log level of the sidecar.", type=click.Choice(LOG_LEVELS), default="info"),
    _option(
        "--proxy-passthrough",
        "What sidecars forward to the node's metadata service: names separated by commas, or none.",
        default=",".join(SEGMENTS),
        metavar="LIST",
    ),
    _option(
        _ENDPOINT,
        "Custom token endpoint (identity bindings).",
        envvar="AZURE_KUBERNETES_TOKEN_PROXY",
        metavar="URL",
    ),
    _option(
        f"{_ENDPOINT}-annotation-suffix",
        "Pods request the custom token endpoint with the annotation azure.workload.identity/use-SUFFIX.",
        metavar="SUFFIX",
    ),
    _option(f"{_ENDPOINT}-audience", "Audience of the tokens for the custom token endpoint."),
    _option(
        f"{_ENDPOINT}-sni-name",
        "Name of the custom token endpoint in TLS.",
        envvar="AZURE_KUBERNETES_SNI_NAME",
        metavar="NAME",
    ),
    _option(
        f"{_ENDPOINT}-ca-configmap",
        "ConfigMap with the custom token endpoint's CA under ca.crt.",
        envvar="AZURE_KUBERNETES_CA_CONFIGMAP_NAME",
        metavar="NAME",
    ),
    _option(
        f"{_ENDPOINT}-ca-bundle-signer",
        "Signer of the ClusterTrustBundles with the custom token endpoint's CA.",
        envvar="AZURE_KUBERNETES_CA_CTB_SIGNER_NAME",
        metavar="SIGNER",
    ),
    _option(
        f"{_ENDPOINT}-ca-bundle-labels",
        "Labels that select the signer's ClusterTrustBundles.",
        metavar="K=V,...",
    ),
    _option(
        f"{_ENDPOINT}-ca-bundle-selector",
        "Kubernetes label selector for the signer's ClusterTrustBundles, with matchLabels and matchExpressions.",
        envvar="AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR",
        metavar="JSON",
    ),
    _option(
        f"{_ENDPOINT}-ca-data",
        "PEM text with the custom token endpoint's CA.",
        envvar="AZURE_KUBERNETES_CA_DATA",
        metavar="PEM",
    ),
    _option(
        f"{_ENDPOINT}-ca",
        "PEM file with the custom token endpoint's CA; the webhook reads it again when it changes.",
        type=_FILE,
        metavar="FILE",
    ),
    _option(
        "--inject-proxy-only",
        "Give the identity to the sidecar alone, in pods that have one and no annotation inject-proxy-only.",
        is_flag=True,
    ),
    _option("--legacy-token-mount", "Mount the token at /var/run/secrets/azure/tokens as well.", is_flag=True),
    _option("--authority-ca", "PEM file of CAs that the sidecar trusts for the authority.", type=_FILE, metavar="FILE"),
)


def _policy(**options: Any) -> Policy:
    policy = _server_policy(**options)
    endpoint = policy.token_endpoint
    if endpoint is None or not isinstance(endpoint.ca, UnknownCA):
        return policy
    ca = InlineCA(only_certificates(_read(f"{_ENDPOINT}-ca", Path(endpoint.ca.file))))
    return replace(policy, token_endpoint=replace(endpoint, ca=ca))


def _server_policy(**options: Any) -> Policy:
    ca_file: Path | None = options["authority_ca"]
    prefix = "custom_token_endpoint"
    try:
        passthrough = read_names(options["proxy_passthrough"])
    except ValueError as error:
        raise SettingError(
            f"--proxy-passthrough has a name that cannot be forwarded: {str(error)!r}",
            hint=f"give some of {','.join(NAMES)}, or none",
        ) from None
    return Policy(
        tenant_id=options["tenant_id"],
        authority_host=_authority(options["environment"], options["authority_host"]),
        audience=options["audience"],
        proxy_image=options["proxy_image"],
        redirect_image=options["redirect_image"] or options["proxy_image"],
        image_pull_policy=options["image_pull_policy"],
        native_sidecar=NativeSidecar(options["native_sidecar"]),
        proxy_resources=Resources(**{name: options[f"proxy_{name}"] or None for name in _AMOUNTS}),
        redirect_resources=Resources(**{name: options[f"redirect_{name}"] or None for name in _AMOUNTS}),
        token_endpoint=_token_endpoint(
            {name.removeprefix(f"{prefix}_"): value for name, value in options.items() if name.startswith(prefix)}
        ),
        proxy_only=options["inject_proxy_only"],
        legacy_token_mount=options["legacy_token_mount"],
        authority_ca=None if ca_file is None else _read("--authority-ca", ca_file),
        proxy_log_level=options["proxy_log_level"],
        passthrough=passthrough,
    )


def _authority(environment: str, host: str | None) -> str:
    cloud = cloud_named(environment)
    if cloud is None:
        raise SettingError(
            f"--environment is not an Azure cloud: {environment!r}",
            hint=f"use {', '.join(cloud.name for cloud in CLOUDS)}",
        )
    if not host:
        return cloud.authorities[0]
    url = authority_url(host)
    if url is None:
        raise SettingError(
            f"--authority-host is not an https URL: {without_credentials(host)!r}",
            hint=f"give one such as {DEFAULT_AUTHORITY}",
        )
    return url


def _token_endpoint(options: dict[str, Any]) -> CustomTokenEndpoint | None:
    suffix, audience = options["annotation_suffix"], options["audience"]
    if not suffix and not audience:
        return None
    return CustomTokenEndpoint(
        suffix=suffix or "",
        audience=audience or "",
        url=options["custom_token_endpoint"] or "",
        sni_name=options["sni_name"] or None,
        ca=_endpoint_ca(options),
    )


def _endpoint_ca(options: dict[str, Any]) -> EndpointCA | None:
    configmap, signer, file = options["ca_configmap"], options["ca_bundle_signer"], options["ca"]
    data, selector = (options["ca_data"] or "").strip(), (options["ca_bundle_selector"] or "").strip()
    if sum(map(bool, (configmap, signer, file, data))) > 1:
        raise SettingError(
            f"more than one of {_ENDPOINT}-ca, -ca-data, -ca-configmap and -ca-bundle-signer is given",
            hint="give one of them; their variables count, too",
        )
    if configmap:
        return ConfigMapCA(configmap)
    if signer or options["ca_bundle_labels"] or selector:
        return _trust_bundle(signer, options["ca_bundle_labels"] or "", selector)
    if file:
        return UnknownCA(str(file))
    return InlineCA(only_certificates(data)) if data else None


def _trust_bundle(signer: str | None, labels: str, selector: str) -> TrustBundleCA:
    if not signer:
        raise SettingError(
            "labels of ClusterTrustBundles are given without their signer",
            hint=f"give {_ENDPOINT}-ca-bundle-signer, or AZURE_KUBERNETES_CA_CTB_SIGNER_NAME",
        )
    if labels and selector:
        raise SettingError(
            f"{_ENDPOINT}-ca-bundle-labels and -ca-bundle-selector are both given",
            hint="put the labels into the selector's matchLabels",
        )
    if selector:
        return _selected(signer, selector)
    pairs = [pair.partition("=") for pair in labels.split(",") if pair.strip()]
    if not all(key.strip() and equals for key, equals, _ in pairs):
        raise SettingError(
            f"{_ENDPOINT}-ca-bundle-labels are not labels: {labels!r}", hint="give them as key=value,..."
        )
    return TrustBundleCA(signer, tuple((key.strip(), value.strip()) for key, _, value in pairs))


class _Expression(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    operator: str
    values: tuple[str, ...] | None = None


class _Selector(msgspec.Struct, forbid_unknown_fields=True):
    """A LabelSelector (meta/v1)."""

    matchLabels: dict[str, str] | None = None  # noqa: N815 -- the API's name
    matchExpressions: list[_Expression] | None = None  # noqa: N815 -- the API's name


def _selected(signer: str, text: str) -> TrustBundleCA:
    try:
        selector = msgspec.json.decode(text, type=_Selector)
    except (ValueError, RecursionError) as error:
        raise SettingError(
            f"{_ENDPOINT}-ca-bundle-selector is not a label selector: {error}: {text[:80]!r}",
            hint='give a LabelSelector such as {"matchLabels": {"app": "ca"}}',
        ) from None
    return TrustBundleCA(
        signer,
        tuple((selector.matchLabels or {}).items()),
        tuple(Requirement(row.key, row.operator, row.values or ()) for row in selector.matchExpressions or ()),
    )


def _read(flag: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not in PEM form").lower()
        raise SettingError(f"{flag} {str(path)!r}: {reason}", hint="name a readable PEM file") from None
    if not only_certificates(text):
        raise SettingError(f"{flag} {str(path)!r} holds no certificate", hint="name a file in PEM form")
    return text


policy_options = option_group("policy", _policy, _OPTIONS)
"""Add the options above to a command, which is called with `policy: Policy` instead of their values.

The policy's `server_version` is None: use `dataclasses.replace` if it is known.
"""
server_policy_options = option_group("policy", _server_policy, _OPTIONS)
"""Add them to a server that follows the file with the custom token endpoint's CA: the policy has an `UnknownCA`."""
