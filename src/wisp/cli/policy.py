"""The options that say what admission puts into pods, for every command that does: one `Policy` comes of them."""

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from wisp.admission.contract import (
    DEFAULT_IMAGE,
    PULL_POLICIES,
    REDIRECT_RESOURCES,
    SIDECAR_RESOURCES,
    ConfigMapCA,
    EndpointCA,
    InlineCA,
    NativeSidecar,
    Policy,
    Requirement,
    Resources,
    TokenEndpoint,
    TrustBundleCA,
)
from wisp.admission.names import AUDIENCE
from wisp.azure.clouds import CLOUDS, DEFAULT_AUTHORITY, authority_url, cloud_named, without_credentials
from wisp.base.constants import LOG_LEVELS, PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.imds.passthrough import NAMES, SEGMENTS, read_names

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_MEASURES = ("cpu_request", "cpu_limit", "memory_request", "memory_limit")


def _measures(what: str, usual: Resources) -> list[Callable[[_Function], _Function]]:
    return [
        click.option(
            f"--{what}-{name.replace('_', '-')}",
            default=getattr(usual, name),
            show_default=True,
            metavar="QUANTITY",
            help=f"The {'sidecar' if what == 'proxy' else what}'s {name.replace('_', ' ')}; empty for none.",
        )
        for name in _MEASURES
    ]


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--tenant-id", envvar="AZURE_TENANT_ID", required=True, metavar="T", help="The cluster's tenant."),
    click.option(
        "--environment",
        envvar="AZURE_ENVIRONMENT",
        default=CLOUDS[0].name,
        show_default=True,
        metavar="CLOUD",
        help=f"Azure cloud: {', '.join(cloud.name for cloud in CLOUDS)}.",
    ),
    click.option(
        "--authority-host", envvar="AZURE_AUTHORITY_HOST", metavar="URL", help="Authority in place of the cloud's own."
    ),
    click.option("--audience", default=AUDIENCE, show_default=True, help="Audience of the projected tokens."),
    click.option("--proxy-image", default=DEFAULT_IMAGE, show_default=True, help="The sidecar's image."),
    click.option("--redirect-image", help="The redirect's image.  [the sidecar's]"),
    click.option(
        "--image-pull-policy",
        type=click.Choice(PULL_POLICIES),
        default="IfNotPresent",
        show_default=True,
        help="Of both.",
    ),
    click.option(
        "--native-sidecar",
        type=click.Choice([each.value for each in NativeSidecar]),
        default=NativeSidecar.AUTO.value,
        show_default=True,
        help="Whether the sidecar is an init container that stays; auto: from API server 1.32 on.",
    ),
    *_measures("proxy", SIDECAR_RESOURCES),
    *_measures("redirect", REDIRECT_RESOURCES),
    click.option(
        "--proxy-log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True, help="The sidecar's."
    ),
    click.option(
        "--proxy-passthrough",
        default=",".join(SEGMENTS),
        show_default=True,
        metavar="LIST",
        help="What sidecars pass on to the node's metadata service: names separated by commas, or none.",
    ),
    click.option(
        "--custom-token-endpoint", envvar="AZURE_KUBERNETES_TOKEN_PROXY", metavar="URL", help="Of identity bindings."
    ),
    click.option(
        "--custom-token-endpoint-annotation-suffix",
        "endpoint_suffix",
        metavar="SUFFIX",
        help="Pods ask for it by azure.workload.identity/use-SUFFIX.",
    ),
    click.option("--custom-token-endpoint-audience", "endpoint_audience", help="Audience of the tokens for it."),
    click.option(
        "--custom-token-endpoint-sni-name",
        "endpoint_sni_name",
        envvar="AZURE_KUBERNETES_SNI_NAME",
        metavar="NAME",
        help="Its name in TLS.",
    ),
    click.option(
        "--custom-token-endpoint-ca-configmap",
        "endpoint_configmap",
        envvar="AZURE_KUBERNETES_CA_CONFIGMAP_NAME",
        metavar="NAME",
        help="ConfigMap with its CA under ca.crt.",
    ),
    click.option(
        "--custom-token-endpoint-ca-bundle-signer",
        "endpoint_signer",
        envvar="AZURE_KUBERNETES_CA_CTB_SIGNER_NAME",
        metavar="SIGNER",
        help="ClusterTrustBundles with its CA, by their signer.",
    ),
    click.option(
        "--custom-token-endpoint-ca-bundle-labels",
        "endpoint_labels",
        metavar="K=V,...",
        help="And by their labels.",
    ),
    click.option(
        "--custom-token-endpoint-ca-bundle-selector",
        "endpoint_selector",
        envvar="AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR",
        metavar="JSON",
        help="The same as a Kubernetes label selector, with matchLabels and matchExpressions.",
    ),
    click.option(
        "--custom-token-endpoint-ca-data",
        "endpoint_ca_data",
        envvar="AZURE_KUBERNETES_CA_DATA",
        metavar="PEM",
        help="PEM text with the endpoint's CA.",
    ),
    click.option(
        "--custom-token-endpoint-ca", "endpoint_ca_file", type=_FILE, metavar="FILE", help="PEM file with its CA."
    ),
    click.option(
        "--inject-proxy-only",
        is_flag=True,
        help="Give the identity to the sidecar alone, in pods that have one and no annotation inject-proxy-only.",
    ),
    click.option("--legacy-token-mount", is_flag=True, help="Have the token at /var/run/secrets/azure/tokens, too."),
    click.option(
        "--authority-ca", type=_FILE, metavar="FILE", help="PEM file of CAs that the sidecar trusts for the authority."
    ),
)


def policy_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above; it is called with `policy: Policy` in their place.

    The policy's `server_version` is None: `dataclasses.replace` it where it is known. Raise SettingError naming
    the option that is wrong.
    """
    theirs = inspect.signature(function).parameters

    @functools.wraps(function)
    def with_policy(**given: Any) -> Any:
        ours = {name: given.pop(name) for name in list(given) if name not in theirs}
        return function(policy=_policy(ours), **given)

    decorated: Any = with_policy
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorators say nothing of what they return


def _policy(given: dict[str, Any]) -> Policy:
    ca_file: Path | None = given["authority_ca"]
    return Policy(
        tenant_id=given["tenant_id"],
        authority_host=_authority(given["environment"], given["authority_host"]),
        audience=given["audience"],
        proxy_image=given["proxy_image"],
        redirect_image=given["redirect_image"] or given["proxy_image"],
        image_pull_policy=given["image_pull_policy"],
        native_sidecar=NativeSidecar(given["native_sidecar"]),
        proxy_resources=_resources("proxy", given),
        redirect_resources=_resources("redirect", given),
        token_endpoint=_token_endpoint(given),
        proxy_only=given["inject_proxy_only"],
        legacy_token_mount=given["legacy_token_mount"],
        authority_ca=None if ca_file is None else _read("--authority-ca", ca_file),
        proxy_log_level=given["proxy_log_level"],
        passthrough=_passthrough(given["proxy_passthrough"]),
    )


def _passthrough(text: str) -> tuple[str, ...]:
    try:
        return read_names(text)
    except ValueError as error:
        raise SettingError(
            f"--proxy-passthrough has a name that cannot be passed on: {str(error)!r}",
            hint=f"give some of {','.join(NAMES)}, or none",
        ) from None


def _authority(environment: str, host: str | None) -> str:
    cloud = cloud_named(environment)
    if cloud is None:
        raise SettingError(
            f"--environment is no Azure cloud: {environment!r}", hint=f"use {', '.join(each.name for each in CLOUDS)}"
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


def _resources(what: str, given: dict[str, Any]) -> Resources:
    return Resources(**{name: given[f"{what}_{name}"] or None for name in _MEASURES})


def _token_endpoint(given: dict[str, Any]) -> TokenEndpoint | None:
    suffix, audience = given["endpoint_suffix"], given["endpoint_audience"]
    if not suffix and not audience:
        return None
    return TokenEndpoint(
        suffix=suffix or "",
        audience=audience or "",
        url=given["custom_token_endpoint"] or "",
        sni_name=given["endpoint_sni_name"] or None,
        ca=_endpoint_ca(given),
    )


def _endpoint_ca(given: dict[str, Any]) -> EndpointCA | None:
    configmap, signer = given["endpoint_configmap"], given["endpoint_signer"]
    file, data = given["endpoint_ca_file"], (given["endpoint_ca_data"] or "").strip()
    if sum(map(bool, (configmap, signer, file, data))) > 1:
        raise SettingError(
            "more than one of --custom-token-endpoint-ca, -ca-data, -ca-configmap and -ca-bundle-signer is given",
            hint="give one of them; their variables count, too",
        )
    if configmap:
        return ConfigMapCA(configmap)
    if signer or given["endpoint_labels"] or (given["endpoint_selector"] or "").strip():
        return _trust_bundle(signer, given["endpoint_labels"] or "", given["endpoint_selector"] or "")
    if file:
        return InlineCA(_read("--custom-token-endpoint-ca", file))
    return InlineCA(given["endpoint_ca_data"]) if data else None


def _trust_bundle(signer: str | None, labels: str, selector: str) -> TrustBundleCA:
    if not signer:
        raise SettingError(
            "labels of ClusterTrustBundles are given without their signer",
            hint="give --custom-token-endpoint-ca-bundle-signer, or AZURE_KUBERNETES_CA_CTB_SIGNER_NAME",
        )
    if labels and selector.strip():
        raise SettingError(
            "--custom-token-endpoint-ca-bundle-labels and -ca-bundle-selector are both given",
            hint="have the labels in the selector's matchLabels",
        )
    return _selected(signer, selector) if selector.strip() else TrustBundleCA(signer, _labels(labels))


def _selected(signer: str, text: str) -> TrustBundleCA:
    """Read a LabelSelector (meta/v1) in JSON. Raise SettingError naming the part that is wrong."""
    try:
        selector = json.loads(text)
    except (ValueError, RecursionError):
        selector = None
    if type(selector) is not dict:
        raise _wrong_selector("not a JSON object", text)
    unknown = sorted(selector.keys() - {"matchLabels", "matchExpressions"})
    if unknown:
        raise _wrong_selector("unknown field", unknown[0])
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if type(labels) is not dict or not all(type(each) is str for each in labels.values()):
        raise _wrong_selector("matchLabels is not an object of strings", labels)
    if type(expressions) is not list:
        raise _wrong_selector("matchExpressions is not a list", expressions)
    return TrustBundleCA(signer, tuple(labels.items()), tuple(map(_requirement, expressions)))


def _requirement(expression: object) -> Requirement:
    if type(expression) is not dict or expression.keys() - {"key", "operator", "values"}:
        raise _wrong_selector("an expression has key, operator and values", expression)
    values = expression.get("values") or []
    texts = [expression.get("key"), expression.get("operator"), *(values if type(values) is list else [None])]
    if not all(type(each) is str for each in texts):
        raise _wrong_selector("key, operator and values of an expression are strings", expression)
    return Requirement(expression["key"], expression["operator"], tuple(values))


def _wrong_selector(problem: str, value: object) -> SettingError:
    return SettingError(
        f"--custom-token-endpoint-ca-bundle-selector: {problem}: {str(value)[:80]!r}",
        hint='give a LabelSelector such as {"matchLabels": {"app": "ca"}}',
    )


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [each.partition("=") for each in text.split(",") if each.strip()]
    if not all(key.strip() and equals for key, equals, _ in pairs):
        raise SettingError(
            f"--custom-token-endpoint-ca-bundle-labels are not labels: {text!r}", hint="give them as key=value,..."
        )
    return tuple((key.strip(), value.strip()) for key, _, value in pairs)


def _read(flag: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not in PEM form").lower()
        raise SettingError(f"{flag} {str(path)!r}: {reason}", hint="name a readable PEM file") from None
    if PEM_BEGIN not in text:
        raise SettingError(f"{flag} {str(path)!r} holds no certificate", hint="name a file in PEM form")
    return text
