"""Parts of a rendered chart: objects, the webhook's container, and the policy made from its arguments."""

from pathlib import Path
from typing import Any

import click
import yaml

from tests.unit.wisp.cli.command import run
from wisp.admission.policy import Policy
from wisp.cli.policy import policy_options

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def objects(text: str) -> list[dict[str, Any]]:
    """Return all objects."""
    return [document for document in yaml.safe_load_all(text) if document]


def one(text: str, kind: str) -> dict[str, Any]:
    """Return the only object of a kind."""
    (found,) = (document for document in objects(text) if document["kind"] == kind)
    return found


def pod_spec(text: str) -> dict[str, Any]:
    """Return the spec of the webhook's pods."""
    spec: dict[str, Any] = one(text, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(text: str) -> dict[str, Any]:
    """Return the webhook's container."""
    (found,) = pod_spec(text)["containers"]
    assert isinstance(found, dict)
    return found


def policy(text: str, folder: Path) -> Policy:
    """Return the policy from the webhook's arguments and variables; files that they name are written to `folder`."""
    authority = folder / "ca.crt"
    authority.write_text(PEM)
    _, *arguments = (argument.replace("/authority/ca.crt", str(authority)) for argument in container(text)["args"])
    environ = {variable["name"]: variable["value"] for variable in container(text)["env"] if "value" in variable}
    policies: list[Policy] = []

    @click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    @policy_options
    def keep(*, policy: Policy) -> None:
        policies.append(policy)

    ran = run(keep, *arguments, environ=environ)
    assert policies, ran
    return policies[0]
