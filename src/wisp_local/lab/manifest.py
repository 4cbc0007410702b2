"""Fills the webhook's plain manifest in for one lab; decides the text and knows no file.

What it changes is what the chart does with the values azureTenantID, authorityHost, authorityCA and image; a test
compares the two.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from wisp.base.errors import WispError

_AUTHORITY = "authority"  # the volume's name
_CERTIFICATE = "ca.crt"
_FOLDER = "/authority"
_CHECKSUM = "checksum/authority"  # another certificate makes other pods
_HEADING = "# Made by `wisp lab up` of wisp's plain manifest, for this lab's Azure; made anew by it.\n"


@dataclass(frozen=True)
class Filling:
    """What a lab's manifest says: the tenant, where Entra is and what to trust for it (PEM), and perhaps the image."""

    tenant_id: str
    authority_host: str
    authority_ca: str
    image: str | None = None


def filled(text: str, filling: Filling) -> str:
    """Return the manifest `text` filled in; raises `WispError` when it is not the webhook's."""
    try:
        documents: list[Any] = [each for each in yaml.safe_load_all(text) if each is not None]
        deployment = next(each for each in documents if each["kind"] == "Deployment")
        _fill(deployment, filling)
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, ValueError) as error:
        raise WispError("wisp's own manifest cannot be used", hint="install wisp anew") from error
    documents.insert(documents.index(deployment), _authority_of(deployment, filling))
    return _HEADING + yaml.safe_dump_all(documents, sort_keys=False)


def _fill(deployment: Mapping[str, Any], filling: Filling) -> None:
    template = deployment["spec"]["template"]
    checksum = hashlib.sha256(filling.authority_ca.encode()).hexdigest()
    template["metadata"]["annotations"] = {**template["metadata"].get("annotations", {}), _CHECKSUM: checksum}
    pod = template["spec"]
    (container,) = pod["containers"]
    container["args"] = _arguments(container["args"], filling)
    if filling.image is not None:
        container["image"] = filling.image
    mount = {"name": _AUTHORITY, "mountPath": _FOLDER, "readOnly": True}
    container["volumeMounts"] = [mount, *container.get("volumeMounts", [])]
    volume = {"name": _AUTHORITY, "configMap": {"name": _name(deployment)}}
    pod["volumes"] = [volume, *pod.get("volumes", [])]


def _arguments(given: list[str], filling: Filling) -> list[str]:
    """Return the container's arguments with ours in the place of those of the same name, else before the others."""
    ours = {
        "--tenant-id": filling.tenant_id,
        "--authority-host": filling.authority_host,
        "--authority-ca": f"{_FOLDER}/{_CERTIFICATE}",
    }
    if filling.image is not None:
        ours |= {"--proxy-image": filling.image, "--redirect-image": filling.image}
    command, *others = given
    kept = [each for each in others if each.partition("=")[0] not in ours]
    return [command, *(f"{name}={value}" for name, value in ours.items()), *kept]


def _authority_of(deployment: Mapping[str, Any], filling: Filling) -> dict[str, Any]:
    metadata = deployment["metadata"]
    about = {"name": _name(deployment), "namespace": metadata["namespace"], "labels": dict(metadata["labels"])}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {_CERTIFICATE: filling.authority_ca}}


def _name(deployment: Mapping[str, Any]) -> str:
    return f"{deployment['metadata']['name']}-authority"
