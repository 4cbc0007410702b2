"""The observed answers of azure-workload-identity v1.6.0, as data."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from wisp.admission.policy import ConfigMapCA, CustomTokenEndpoint, Policy, parse_version

_FOLDER = Path(__file__).with_name("reference")


class Case(NamedTuple):
    """A pod, its service account (None if the account does not exist), and the observed answer."""

    name: str
    pod: dict[str, Any]
    account: dict[str, Any] | None
    answer: dict[str, Any]
    policy: Policy


def _cases(file: str) -> list[Case]:
    observed = json.loads((_FOLDER / file).read_text(encoding="utf-8"))
    policy = Policy(
        tenant_id=observed["tenantId"],
        server_version=parse_version(observed["serverVersion"]),
        proxy_image="/proxy:",  # the reference ran without a registry
        redirect_image="/proxy-init:",
        token_endpoint=_endpoint(observed.get("settings")),
    )
    accounts = {account["metadata"]["name"]: account for account in observed["serviceAccounts"]}
    return [
        Case(case["case"], case["pod"], accounts.get(_account(case["pod"])), case["answer"], policy)
        for case in observed["cases"]
    ]


def _account(pod: dict[str, Any]) -> str:
    return str(pod["spec"].get("serviceAccountName") or "default")


def _endpoint(settings: dict[str, str] | None) -> CustomTokenEndpoint | None:
    if settings is None:
        return None
    return CustomTokenEndpoint(
        suffix=settings["customTokenEndpointAnnotationSuffix"],
        audience=settings["customTokenEndpointAudience"],
        url=settings["AZURE_KUBERNETES_TOKEN_PROXY"],
        sni_name=settings["AZURE_KUBERNETES_SNI_NAME"],
        ca=ConfigMapCA(settings["AZURE_KUBERNETES_CA_CONFIGMAP_NAME"]),
    )


CASES = [*_cases("cases.json"), *_cases("identity-binding.json")]
