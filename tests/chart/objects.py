"""Parts of a rendered chart: objects, containers, and the policy made from the webhook's arguments."""

import re
from pathlib import Path
from typing import Any

import click
import yaml

from tests.unit.wisp.cli.command import run
from wisp.admission.policy import Policy
from wisp.cli.policy import policy_options

MOUNTED_CA = re.compile("/(authority|client-ca|gateway-ca)/ca.crt")
"""Paths of CA certificates in the containers."""
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def objects(text: str) -> list[dict[str, Any]]:
    """Return all objects."""
    return [document for document in yaml.safe_load_all(text) if document]


def component(document: dict[str, Any]) -> str:
    """Return the component of wisp that an object belongs to, `webhook` or `gateway`."""
    return str(document["metadata"]["labels"]["app.kubernetes.io/component"])


def one(text: str, kind: str, of: str = "webhook") -> dict[str, Any]:
    """Return the only object of a kind that belongs to a component."""
    (found,) = (document for document in objects(text) if document["kind"] == kind and component(document) == of)
    return found


def pod_spec(text: str, of: str = "webhook") -> dict[str, Any]:
    """Return the spec of a component's pods."""
    spec: dict[str, Any] = one(text, "Deployment", of)["spec"]["template"]["spec"]
    return spec


def container(text: str, of: str = "webhook") -> dict[str, Any]:
    """Return the container of a component's pods."""
    (found,) = pod_spec(text, of)["containers"]
    assert isinstance(found, dict)
    return found


def policy(text: str, folder: Path) -> Policy:
    """Return the policy from the webhook's arguments and variables; files that they name are written to `folder`."""
    authority = folder / "ca.crt"
    authority.write_text(PEM)
    _, *arguments = (MOUNTED_CA.sub(str(authority), argument) for argument in container(text)["args"])
    environ = {variable["name"]: variable["value"] for variable in container(text)["env"] if "value" in variable}
    policies: list[Policy] = []

    @click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    @policy_options
    def keep(*, policy: Policy) -> None:
        policies.append(policy)

    ran = run(keep, *arguments, environ=environ)
    assert policies, ran
    return policies[0]
