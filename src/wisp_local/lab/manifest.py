"""Fills in the webhook's plain manifest for one lab. Returns text and knows no file.

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
    """Return the manifest `text` with `values`. Raise WispError if it is not the webhook's."""
    try:
        documents: list[Any] = [document for document in yaml.safe_load_all(text) if document is not None]
        deployment = next(document for document in documents if document["kind"] == "Deployment")
        _fill_deployment(deployment, values)
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, ValueError) as error:
        raise WispError("wisp's own manifest cannot be used", hint="install wisp again") from error
    metadata = deployment["metadata"]
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _config_map_name(deployment),
            "namespace": metadata["namespace"],
            "labels": dict(metadata["labels"]),
        },
        "data": {_CERTIFICATE: values.authority_ca},
    }
    documents.insert(documents.index(deployment), config_map)
    return _HEADING + yaml.safe_dump_all(documents, sort_keys=False)


def _fill_deployment(deployment: Mapping[str, Any], values: ManifestValues) -> None:
    template = deployment["spec"]["template"]
    checksum = hashlib.sha256(values.authority_ca.encode()).hexdigest()
    template["metadata"]["annotations"] = {**template["metadata"].get("annotations", {}), _CHECKSUM: checksum}
    pod = template["spec"]
    (container,) = pod["containers"]
    container["args"] = _arguments(container["args"], values)
    if values.image is not None:
        container["image"] = values.image
    mount = {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}
    container["volumeMounts"] = [mount, *container.get("volumeMounts", [])]
    volume = {"name": _VOLUME, "configMap": {"name": _config_map_name(deployment)}}
    pod["volumes"] = [volume, *pod.get("volumes", [])]


def _arguments(arguments: list[str], values: ManifestValues) -> list[str]:
    """Return the container's arguments with those of `values` first, in place of others with the same names."""
    added = {
        "--tenant-id": values.tenant_id,
        "--authority-host": values.authority_host,
        "--authority-ca": f"{_FOLDER}/{_CERTIFICATE}",
    }
    if values.image is not None:
        added |= {"--proxy-image": values.image, "--redirect-image": values.image}
    command, *others = arguments
    unchanged = [argument for argument in others if argument.partition("=")[0] not in added]
    return [command, *(f"{name}={value}" for name, value in added.items()), *unchanged]


def _config_map_name(deployment: Mapping[str, Any]) -> str:
    return f"{deployment['metadata']['name']}-authority"
