"""Checks a pod that the webhook has mutated: everything is there, and once."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

VARIABLES = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST")
MOUNT = "/var/run/secrets/azure/wi"
VOLUME = "azure-workload-identity-reserved-"
REDIRECT, SIDECAR = "azwi-proxy-init", "azwi-proxy"


def faults(pod: dict[str, Any], client_id: str, *, ours: bool = True) -> list[str]:
    """Return what is missing, repeated or wrong in a pod with the sidecar and the identity `client_id`.

    Not `ours`: the containers are azure-workload-identity's, whose redirect has the identity, too.
    """
    spec = pod["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    found = [*_order(spec), *_repetitions(spec, containers)]
    for container in containers:
        if container["name"] == REDIRECT and ours:
            found += [f"{REDIRECT} has {name}" for name in VARIABLES if name in _values(container)]
        else:
            found += _missing(container, client_id)
    return found


def _order(spec: dict[str, Any]) -> Iterator[str]:
    first = [container["name"] for container in spec.get("initContainers", [])][:2]
    if first != [REDIRECT, SIDECAR]:
        yield f"the first init containers are {first}"


def _repetitions(spec: dict[str, Any], containers: list[dict[str, Any]]) -> Iterator[str]:
    yield from _repeated("container", [container["name"] for container in containers])
    volumes = [volume["name"] for volume in spec.get("volumes", []) if volume["name"].startswith(VOLUME)]
    if len(volumes) != 1:
        yield f"there are {len(volumes)} token volumes"
    for container in containers:
        yield from _repeated(f"{container['name']}'s variable", [one["name"] for one in container.get("env", [])])
        yield from _repeated(
            f"{container['name']}'s mount", [one["mountPath"] for one in container.get("volumeMounts", [])]
        )


def _repeated(what: str, names: list[str]) -> Iterator[str]:
    return (f"{what} {name} is there {times} times" for name, times in Counter(names).items() if times > 1)


def _missing(container: dict[str, Any], client_id: str) -> Iterator[str]:
    values = _values(container)
    yield from (f"{container['name']} has no {name}" for name in VARIABLES if not values.get(name))
    if values.get("AZURE_CLIENT_ID") != client_id:
        yield f"{container['name']} has the client id {values.get('AZURE_CLIENT_ID')}"
    if MOUNT not in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
        yield f"{container['name']} has no token"


def _values(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
