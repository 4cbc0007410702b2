"""Who may use which identity, by the roles and bindings of a cluster."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp.gateway.test_grants import CLIENT_ID, GRANTS
from wisp.gateway.grants import Grant, Manifest
from wisp.gateway.permissions import ANY, Permission, find_permissions

OTHER_ID = "0a1b2c3d-0000-4111-8222-333344446666"
GROUP = "cid.wi.aks.azure.com"
VERB = "use-managed-identity"
APP = {"kind": "ServiceAccount", "namespace": "team", "name": "app"}
JANE = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}


def role(*rules: Manifest, name: str = "r") -> Manifest:
    return {"metadata": {"name": name}, "rules": list(rules)}


def rule(**fields: Any) -> Manifest:
    return {"apiGroups": [GROUP], "resources": [CLIENT_ID], "verbs": [VERB], **fields}


def binding(*subjects: Manifest, name: str = "b", reference: str = "r", kind: str = "ClusterRole") -> Manifest:
    return {"metadata": {"name": name}, "roleRef": {"kind": kind, "name": reference}, "subjects": list(subjects)}


def group(name: str) -> Manifest:
    return {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def permissions(*rules: Manifest, subjects: Iterable[Manifest] = (APP,)) -> list[tuple[str, str, str]]:
    """Return client id, kind and name of what these rules grant."""
    found = find_permissions([role(*rules)], [binding(*subjects)])
    return [(permission.client_id, permission.kind, permission.name) for permission in found.granted]


@given(st.lists(GRANTS, unique=True, max_size=5))
def test_list_shows_what_was_granted(grants: list[Grant]) -> None:
    found = find_permissions([granted.role for granted in grants], [granted.binding for granted in grants])
    assert found.warnings == []
    assert {permission.binding for permission in found.granted} == {granted.name for granted in grants}
    assert all(permission.managed and permission.binding == permission.role for permission in found.granted)
    for granted in grants:
        assert any(permission.concerns(granted) for permission in found.granted if permission.binding == granted.name)


@pytest.mark.parametrize(
    "fields, granted",
    [
        ({}, [CLIENT_ID]),
        ({"verbs": ["*"]}, [CLIENT_ID]),
        ({"verbs": ["get", VERB], "apiGroups": ["", GROUP]}, [CLIENT_ID]),
        ({"apiGroups": ["*"]}, [CLIENT_ID]),
        ({"resources": ["*"]}, [ANY]),
        ({"resources": [OTHER_ID, CLIENT_ID]}, [CLIENT_ID, OTHER_ID]),
        ({"verbs": ["get"]}, []),
        ({"apiGroups": ["apps"]}, []),
        ({"resources": ["pods"]}, []),
        ({"resources": [f"{CLIENT_ID}/token", "*/token"]}, []),
        ({"resources": [CLIENT_ID.upper()]}, []),
        ({"resourceNames": ["x"]}, []),
        ({"apiGroups": None, "resources": None, "nonResourceURLs": ["*"]}, []),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_rules_grant_what_kubernetes_allows(fields: Manifest, granted: list[str]) -> None:
    assert [client_id for client_id, *_ in permissions(rule(**fields))] == granted


def test_resource_that_grants_nothing_is_reported() -> None:
    """RBAC compares text, and the gateway asks for the client id in lower case."""
    found = find_permissions([role(rule(resources=[CLIENT_ID.upper(), "my-identity", CLIENT_ID]))], [])
    assert [warning.split(", ")[0] for warning in found.warnings] == [
        f"ClusterRole r names '{CLIENT_ID.upper()}'",
        "ClusterRole r names 'my-identity'",
    ]


def test_bindings_of_other_roles_grant_nothing() -> None:
    roles = [role(rule())]
    bindings = [binding(APP, reference="missing"), binding(APP, kind="Role")]
    assert find_permissions(roles, bindings).granted == []


def test_binding_without_subjects_grants_nothing() -> None:
    assert permissions(rule(), subjects=()) == []
    assert find_permissions([role(rule())], [{**binding(), "subjects": None}]).granted == []


def test_administrators_of_the_cluster_are_not_listed() -> None:
    """Only service accounts ask the gateway; a service account with every right is listed."""
    everything = rule(apiGroups=["*"], resources=["*"], verbs=["*"])
    subjects = [group("system:masters"), JANE, APP]
    assert permissions(everything, subjects=subjects) == [(ANY, "ServiceAccount", "app")]


def test_user_whose_role_names_the_api_group_is_listed() -> None:
    assert permissions(rule(), subjects=[JANE]) == [(CLIENT_ID, "User", "jane")]


def test_changed_grant_is_not_managed() -> None:
    """`wisp gateway revoke` would not remove it."""
    grant = Grant(CLIENT_ID, "team", "app")
    changed = {**grant.binding, "subjects": [*grant.binding["subjects"], group("system:serviceaccounts")]}
    assert [permission.managed for permission in find_permissions([grant.role], [changed]).granted] == [False, False]


@pytest.mark.parametrize(
    "subject, concerned",
    [
        (APP, ["app", "team", "all"]),
        ({**APP, "name": "other"}, ["team", "all"]),
        ({**APP, "namespace": "other"}, ["all"]),
        (group("system:serviceaccounts:team"), ["app", "team", "all"]),
        (group("system:serviceaccounts:other"), ["all"]),
        (group("system:serviceaccounts"), ["app", "team", "all"]),
        (group("system:authenticated"), ["app", "team", "all"]),
        ({**JANE, "name": "system:serviceaccount:team:app"}, ["app", "team", "all"]),
        ({**JANE, "name": "system:serviceaccount:team"}, []),
        (group("system:masters"), []),
        (JANE, []),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_subjects_and_the_service_accounts_that_they_include(subject: Manifest, concerned: list[str]) -> None:
    [permission] = find_permissions([role(rule())], [binding(subject)]).granted
    grants = {"app": Grant(CLIENT_ID, "team", "app"), "team": Grant(CLIENT_ID, "team"), "all": Grant(CLIENT_ID)}
    assert [name for name, granted in grants.items() if permission.concerns(granted)] == concerned
    assert not permission.concerns(Grant(OTHER_ID))


def test_permission_for_every_identity_concerns_each() -> None:
    permission = Permission(ANY, "ServiceAccount", "team", "app", "b", "r", managed=False)
    assert permission.concerns(Grant(OTHER_ID, "team", "app"))
