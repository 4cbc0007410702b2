"""Fills in wisp's plain manifest, with or without the token gateway, for one lab. Returns text and knows no file.

The result is what the chart makes of the values azureTenantID, authorityHost, authorityCA and image; a test compares
the two.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from wisp.base.errors import WispError

_VOLUME = "authority"
_FOLDER = "/authority"
_CERTIFICATE = "ca.crt"
_CHECKSUM = "checksum/authority"  # an annotation: another certificate makes new pods
_HEADING = "# Written by `wisp lab up` from wisp's plain manifest, for this lab's Azure.\n"


@dataclass(frozen=True)
class ManifestValues:
    """The values of a lab's manifest: the tenant, Entra's URL and CA (PEM), and optionally wisp's image."""

    tenant_id: str
    authority_host: str
    authority_ca: str
    image: str | None = None


def fill_manifest(text: str, values: ManifestValues) -> str:
    """Return the manifest `text` with `values`. Raise WispError if it is not wisp's."""
    try:
        documents: list[Any] = [document for document in yaml.safe_load_all(text) if document is not None]
        webhook, *others = [document for document in documents if document["kind"] == "Deployment"]
        config_map = _config_map(webhook, values)
        _fill_webhook(webhook, values)
        for gateway in others:
            _fill_gateway(gateway, values)
        for deployment in (webhook, *others):
            _fill_deployment(deployment, values, config_map["metadata"]["name"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise WispError("wisp's own manifest cannot be used", hint="install wisp again") from error
    documents.insert(documents.index(webhook), config_map)
    return _HEADING + yaml.safe_dump_all(documents, sort_keys=False)


def _config_map(webhook: Mapping[str, Any], values: ManifestValues) -> dict[str, Any]:
    metadata = webhook["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{metadata['name']}-authority",
            "namespace": metadata["namespace"],
            "labels": dict(metadata["labels"]),
        },
        "data": {_CERTIFICATE: values.authority_ca},
    }


def _fill_deployment(deployment: Mapping[str, Any], values: ManifestValues, config_map: str) -> None:
    """Fill in what webhook and gateway have in common: the image, and the CA from a ConfigMap."""
    template = deployment["spec"]["template"]
    checksum = hashlib.sha256(values.authority_ca.encode()).hexdigest()
    template["metadata"]["annotations"] = {**template["metadata"].get("annotations", {}), _CHECKSUM: checksum}
    container = _container(deployment)
    if values.image is not None:
        container["image"] = values.image
    mount = {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}
    container["volumeMounts"] = [mount, *container.get("volumeMounts", [])]
    pod = template["spec"]
    pod["volumes"] = [{"name": _VOLUME, "configMap": {"name": config_map}}, *pod.get("volumes", [])]


def _fill_webhook(deployment: Mapping[str, Any], values: ManifestValues) -> None:
    added = {
        "--tenant-id": values.tenant_id,
        "--authority-host": values.authority_host,
        "--authority-ca": f"{_FOLDER}/{_CERTIFICATE}",
    }
    if values.image is not None:
        added |= {"--proxy-image": values.image, "--redirect-image": values.image}
    _replace_arguments(_container(deployment), added)


def _fill_gateway(deployment: Mapping[str, Any], values: ManifestValues) -> None:
    container = _container(deployment)
    _replace_arguments(container, {"--authority-ca": f"{_FOLDER}/{_CERTIFICATE}"})
    variables = {"AZURE_TENANT_ID": values.tenant_id, "AZURE_AUTHORITY_HOST": values.authority_host}
    for variable in container["env"]:
        if variable["name"] in variables:
            variable["value"] = variables[variable["name"]]


def _container(deployment: Mapping[str, Any]) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _replace_arguments(container: dict[str, Any], added: Mapping[str, str]) -> None:
    """Put the arguments `added` first, in place of others with the same names."""
    command, *others = container["args"]
    unchanged = [argument for argument in others if argument.partition("=")[0] not in added]
    container["args"] = [command, *(f"{name}={value}" for name, value in added.items()), *unchanged]
