"""Grants: names, objects and the command."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wisp.gateway.grants import Grant, Manifest, grant_command, is_equivalent, parse_grant

CLIENT_ID = "0a1b2c3d-0000-4111-8222-333344445555"
NAMESPACES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
ACCOUNTS = st.from_regex(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", fullmatch=True).filter(
    lambda name: len(name) <= 253
)
GRANTS = st.one_of(
    st.tuples(st.uuids().map(str)),
    st.tuples(st.uuids().map(str), NAMESPACES),
    st.tuples(st.uuids().map(str), NAMESPACES, ACCOUNTS),
).map(lambda parts: Grant(*parts))


@given(GRANTS, GRANTS)
def test_different_grants_have_different_names(one: Grant, other: Grant) -> None:
    assert (one.name == other.name) == (one == other)


def test_client_id_is_granted_in_lower_case() -> None:
    assert parse_grant(CLIENT_ID.upper(), "ns", "app") == Grant(CLIENT_ID, "ns", "app")


@pytest.mark.parametrize(
    "invalid",
    [
        (f"{{{CLIENT_ID}}}",),
        (f"{CLIENT_ID} ",),
        ("*",),
        ("",),
        (CLIENT_ID, "Team"),
        (CLIENT_ID, "a.b"),
        (CLIENT_ID, "n" * 64),
        (CLIENT_ID, "$(id)"),
        (CLIENT_ID, "ns", "a'b"),
        (CLIENT_ID, "ns", "app\n"),
        (CLIENT_ID, "ns", "*"),
        (CLIENT_ID, "", "app"),
    ],
    ids=str,
)
def test_what_is_not_a_name_is_not_granted(invalid: tuple[str, ...]) -> None:
    assert parse_grant(*invalid) is None
    with pytest.raises(ValueError, match="not a GUID"):
        grant_command(*invalid)


@given(GRANTS)
def test_command_has_one_line_and_survives_being_printed_in_json(grant: Grant) -> None:
    command = grant_command(*grant)
    assert command.isprintable()
    assert command.isascii()
    assert not {'"', "\\", "$", "`", "!"} & set(command)


@pytest.mark.parametrize(
    "grant, option",
    [
        (Grant(CLIENT_ID, "team", "app"), "--serviceaccount=team:app"),
        (Grant(CLIENT_ID, "team"), "--group=system:serviceaccounts:team"),
        (Grant(CLIENT_ID), "--group=system:serviceaccounts"),
    ],
    ids=["service account", "namespace", "all"],
)
def test_command_binds_the_role_to_the_subject(grant: Grant, option: str) -> None:
    words = shlex.split(grant_command(*grant))
    assert words[-5:] == ["create", "clusterrolebinding", grant.name, f"--clusterrole={grant.name}", option]


AWKWARD = "1e3." + "a" * 249
"""The longest name that a service account can have, which begins like a number."""


@pytest.mark.system
@pytest.mark.parametrize(
    "grant",
    [
        Grant(CLIENT_ID, "0", "1"),
        Grant("1" * 8 + CLIENT_ID[8:], "null", AWKWARD),
        Grant(CLIENT_ID, "1e3"),
        Grant(CLIENT_ID),
    ],
    ids=["digits", "like other types", "namespace", "all"],
)
def test_shell_passes_the_objects_of_the_grant_to_kubectl(grant: Grant, tmp_path: Path) -> None:
    """A script in place of kubectl writes down its arguments and its input."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\necho "$@" >> arguments\n[ "$1" = create ] || cat > input\n')
    kubectl.chmod(0o755)
    command = json.loads(json.dumps(grant_command(*grant)))
    subprocess.run(["sh", "-ec", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, cwd=tmp_path, check=True)
    role = yaml.safe_load((tmp_path / "input").read_text())
    assert role["metadata"]["name"] == grant.name
    assert role["kind"] == "ClusterRole"
    assert is_equivalent(role, grant.role)
    applied, bound = (tmp_path / "arguments").read_text().splitlines()
    assert applied == "apply -f -"
    assert bound.startswith(f"create clusterrolebinding {grant.name} --clusterrole={grant.name} --")


@given(GRANTS)
def test_objects_of_a_grant_are_equivalent_to_themselves(grant: Grant) -> None:
    assert is_equivalent(grant.role, grant.role)
    assert is_equivalent(grant.binding, grant.binding)
    assert not is_equivalent(grant.role, grant.binding)


APP = Grant(CLIENT_ID, "team", "app")
OTHER_SUBJECT = {"kind": "ServiceAccount", "namespace": "team", "name": "other"}


@pytest.mark.parametrize(
    "held, wanted",
    [
        ({**APP.role, "metadata": {"name": APP.name, "labels": {"a": "b"}, "uid": "1"}}, APP.role),
        ({**APP.role, "rules": [{**APP.role["rules"][0], "resourceNames": []}]}, APP.role),
        ({**APP.binding, "subjects": [{**APP.subject, "apiGroup": ""}]}, APP.binding),
    ],
    ids=["other metadata", "empty field", "API group of a service account"],
)
def test_object_that_grants_the_same_is_equivalent(held: Manifest, wanted: Manifest) -> None:
    assert is_equivalent(held, wanted)


@pytest.mark.parametrize(
    "held, wanted",
    [
        ({**APP.role, "rules": [*APP.role["rules"], {"verbs": ["*"]}]}, APP.role),
        ({**APP.role, "rules": None}, APP.role),
        ({**APP.role, "aggregationRule": {"clusterRoleSelectors": [{}]}}, APP.role),
        ({**APP.binding, "subjects": [APP.subject, OTHER_SUBJECT]}, APP.binding),
        ({**APP.binding, "subjects": None}, APP.binding),
        ({**APP.binding, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}}, APP.binding),
    ],
    ids=["more rules", "no rules", "aggregation", "more subjects", "no subjects", "another role"],
)
def test_object_that_grants_something_else_is_not_equivalent(held: Manifest, wanted: Manifest) -> None:
    assert not is_equivalent(held, wanted)
