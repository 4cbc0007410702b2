"""`wisp gateway grant`, `revoke` and `list` with an API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.wisp.cli.command import CommandResult, run
from tests.unit.wisp.gateway.test_grants import GRANTS
from tests.unit.wisp.kubernetes import apiserver
from wisp.cli.grants import grant, list_command, revoke
from wisp.gateway.grants import Grant

CLIENT_ID = "0a1b2c3d-0000-4111-8222-333344445555"
OTHER_ID = "0a1b2c3d-0000-4111-8222-333344446666"
APP = Grant(CLIENT_ID, "team", "app")
IDENTITY = ("--client-id", CLIENT_ID)
ACCOUNT = ("--service-account", "team/app")
ROLES, BINDINGS = "clusterroles", "clusterrolebindings"


@pytest.fixture(name="server")
def _server() -> Iterator[apiserver.ApiServer]:
    with apiserver.running() as server:
        yield server


@pytest.fixture(name="world")
def _world(server: apiserver.ApiServer) -> apiserver.World:
    return server.world


@pytest.fixture(name="wisp")
def _wisp(server: apiserver.ApiServer, tmp_path: Path) -> Any:
    kubeconfig = server.write_kubeconfig(tmp_path / "config")

    def wisp(command: click.Command, *arguments: str) -> CommandResult:
        return run(command, *arguments, environ={"KUBECONFIG": str(kubeconfig)})

    return wisp


def put(world: apiserver.World, *grants: Grant) -> None:
    """Store the objects of grants, as the command that a refusal shows would: without the label."""
    for granted in grants:
        for resource, manifest in ((ROLES, granted.role), (BINDINGS, granted.binding)):
            world.put(resource, {**manifest, "metadata": {"name": granted.name, "uid": "u1"}})


def names(world: apiserver.World) -> set[tuple[str, str]]:
    """Return resource and name of every role and binding."""
    return {(resource, name) for resource, _, name in world.objects if resource in (ROLES, BINDINGS)}


def both(*grants: Grant) -> set[tuple[str, str]]:
    return {(resource, granted.name) for granted in grants for resource in (ROLES, BINDINGS)}


def test_grant_creates_role_and_binding(world: apiserver.World, wisp: Any) -> None:
    ran = wisp(grant, *IDENTITY, *ACCOUNT)
    assert ran.status == 0
    assert ran.stdout.splitlines() == [
        f"clusterrole.rbac.authorization.k8s.io/{APP.name} created",
        f"clusterrolebinding.rbac.authorization.k8s.io/{APP.name} created",
    ]
    held = world.get(BINDINGS, APP.name)
    assert held["subjects"] == [APP.subject]
    assert held["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "wisp"}
    assert world.get(ROLES, APP.name)["rules"] == APP.rules


def test_grant_is_idempotent(world: apiserver.World, wisp: Any) -> None:
    """Also for what the command in a refusal has made."""
    put(world, APP)
    ran = wisp(grant, *IDENTITY, *ACCOUNT)
    assert ran.status == 0
    assert [line.rpartition(" ")[2] for line in ran.stdout.splitlines()] == ["unchanged", "unchanged"]
    assert not world.count_requests("POST")


def test_grant_makes_one_grant_for_each_identity_and_subject(world: apiserver.World, wisp: Any) -> None:
    ran = wisp(grant, *IDENTITY, "--client-id", OTHER_ID.upper(), *ACCOUNT, "--namespace", "red", "--namespace", "red")
    assert ran.status == 0
    subjects = (("team", "app"), ("red", ""))
    assert names(world) == both(
        *(Grant(identity, *subject) for identity in (CLIENT_ID, OTHER_ID) for subject in subjects)
    )


def test_grant_for_all_binds_the_group_of_all_service_accounts(world: apiserver.World, wisp: Any) -> None:
    assert wisp(grant, *IDENTITY, "--all").status == 0
    assert world.get(BINDINGS, f"wisp-gateway:{CLIENT_ID}")["subjects"][0]["name"] == "system:serviceaccounts"


def test_grant_changes_nothing_if_an_object_of_the_name_is_different(world: apiserver.World, wisp: Any) -> None:
    put(world, APP)
    world.put(BINDINGS, {**APP.binding, "subjects": []})
    ran = wisp(grant, *IDENTITY, "--namespace", "red", *ACCOUNT)
    assert ran.status == 1
    assert ran.stdout == ""
    assert f"the ClusterRoleBinding {APP.name} grants something else than its name says" in ran.stderr
    assert names(world) == both(APP)


def test_dry_run_changes_nothing(world: apiserver.World, wisp: Any) -> None:
    put(world, APP)
    ran = wisp(grant, *IDENTITY, *ACCOUNT, "--namespace", "red", "--dry-run")
    assert ran.status == 0
    assert [line.split(" ", 1)[1] for line in ran.stdout.splitlines()] == [
        *["unchanged (dry run)"] * 2,
        *["created (dry run)"] * 2,
    ]
    assert names(world) == both(APP)


@pytest.mark.parametrize("command", [grant, revoke], ids=["grant", "revoke"])
def test_manifests_are_printed_without_a_cluster(command: click.Command) -> None:
    """`kubectl apply -f -` or `kubectl delete -f -` reads them."""
    options = (*IDENTITY, *ACCOUNT, "--dry-run", "--kubeconfig", "/nonexistent")
    printed = run(command, *options, "-o", "yaml")
    assert (printed.status, printed.stderr) == (0, "")
    documents = list(yaml.safe_load_all(printed.stdout))
    assert {document["kind"]: document for document in documents} == {
        "ClusterRole": APP.role,
        "ClusterRoleBinding": APP.binding,
    }
    listed = json.loads(run(command, *options, "-o", "json").stdout)
    assert (listed["kind"], listed["items"]) == ("List", documents)


def test_output_of_objects_keeps_messages_away_from_them(wisp: Any) -> None:
    ran = wisp(grant, *IDENTITY, *ACCOUNT, "-o", "json")
    assert [item["kind"] for item in json.loads(ran.stdout)["items"]] == ["ClusterRole", "ClusterRoleBinding"]
    assert ran.stderr.count("created") == 2


def test_grant_retries_until_the_role_can_be_bound(world: apiserver.World, wisp: Any) -> None:
    """API servers check a binding's role in a cache, for users who may not bind every role."""
    faults = [404, 404]
    world.fault = lambda method, path: faults.pop() if faults and method == "POST" and BINDINGS in path else None
    assert wisp(grant, *IDENTITY, *ACCOUNT).status == 0
    assert names(world) == both(APP)


def test_object_that_somebody_else_creates_meanwhile_is_unchanged(world: apiserver.World, wisp: Any) -> None:
    def fault(method: str, _path: str) -> None:
        if method == "POST":
            put(world, APP)

    world.fault = fault
    ran = wisp(grant, *IDENTITY, *ACCOUNT)
    assert ran.status == 0
    assert ran.stdout.count("unchanged") == 2


def test_revoke_removes_what_was_granted_and_nothing_else(world: apiserver.World, wisp: Any) -> None:
    others = (Grant(CLIENT_ID, "red"), Grant(OTHER_ID, "team", "app"))
    put(world, APP, *others)
    ran = wisp(revoke, *IDENTITY, *ACCOUNT)
    assert (ran.status, ran.stderr) == (0, "")
    assert [line.rpartition(" ")[2] for line in ran.stdout.splitlines()] == ["deleted", "deleted"]
    assert names(world) == both(*others)


@pytest.mark.system
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(GRANTS, min_size=1, max_size=4))
def test_grant_then_revoke_leaves_nothing(world: apiserver.World, wisp: Any, grants: set[Grant]) -> None:
    """Also of names that look like other names."""
    for command in (grant, revoke):
        for granted in grants:
            subject: tuple[str, ...] = ("--all",)
            if granted.service_account:
                subject = ("--service-account", f"{granted.namespace}/{granted.service_account}")
            elif granted.namespace:
                subject = ("--namespace", granted.namespace)
            assert wisp(command, "--client-id", granted.client_id, *subject).status == 0
        assert names(world) == (both(*grants) if command is grant else set())


def test_revoke_of_what_is_not_there_fails(wisp: Any) -> None:
    """The namespace or the name could be misspelt, and the grant would stay."""
    ran = wisp(revoke, *IDENTITY, *ACCOUNT)
    assert (ran.status, ran.stdout) == (1, "")
    assert f"there is no such grant: {APP.name}" in ran.stderr


def test_revoke_removes_the_rest_of_a_grant(world: apiserver.World, wisp: Any) -> None:
    world.put(ROLES, APP.role)
    assert wisp(revoke, *IDENTITY, *ACCOUNT).status == 0
    assert names(world) == set()


def test_revoke_does_not_remove_a_binding_that_somebody_has_changed(world: apiserver.World, wisp: Any) -> None:
    put(world, APP)
    world.put(BINDINGS, {**APP.binding, "subjects": [*APP.binding["subjects"], Grant(CLIENT_ID, "red").subject]})
    ran = wisp(revoke, *IDENTITY, *ACCOUNT)
    assert ran.status == 1
    assert names(world) == both(APP)
    assert "kubectl get clusterrolebinding" in ran.stderr


def test_revoke_deletes_only_the_version_that_it_has_compared(world: apiserver.World, wisp: Any) -> None:
    put(world, APP)
    changed = {**APP.binding, "subjects": []}

    def fault(method: str, _path: str) -> None:
        if method == "DELETE":
            world.put(BINDINGS, changed)

    world.fault = fault
    assert wisp(revoke, *IDENTITY, *ACCOUNT).status == 1
    assert world.get(BINDINGS, APP.name)["subjects"] == []


def test_revoke_warns_of_grants_that_remain(world: apiserver.World, wisp: Any) -> None:
    put(world, APP, Grant(CLIENT_ID, "team"), Grant(CLIENT_ID, "red"))
    team = f"wisp-gateway:{CLIENT_ID}:team"
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    world.put(ROLES, {"metadata": {"name": "admin"}, "rules": [everything]})
    reference = {"kind": "ClusterRole", "name": "admin"}
    world.put(BINDINGS, {"metadata": {"name": "ops"}, "roleRef": reference, "subjects": [APP.subject]})
    ran = wisp(revoke, *IDENTITY, *ACCOUNT)
    assert ran.status == 0
    assert ran.stderr.splitlines() == [
        "warning: ClusterRoleBinding ops still grants every identity to ServiceAccount team/app",
        f"warning: ClusterRoleBinding {team} still grants {CLIENT_ID} to Group system:serviceaccounts:team",
    ]


def test_revoke_keeps_a_role_that_another_binding_uses(world: apiserver.World, wisp: Any) -> None:
    put(world, APP)
    world.put(BINDINGS, {**APP.binding, "metadata": {"name": "mine"}})
    ran = wisp(revoke, *IDENTITY, *ACCOUNT)
    assert ran.status == 0
    assert names(world) == {(ROLES, APP.name), (BINDINGS, "mine")}
    assert "is not deleted: ClusterRoleBinding mine uses it" in ran.stderr
    assert f"ClusterRoleBinding mine still grants {CLIENT_ID} to ServiceAccount team/app" in ran.stderr


@pytest.mark.parametrize("status", [403, 500, 0])
def test_revoke_warns_if_other_grants_cannot_be_listed(world: apiserver.World, wisp: Any, status: int) -> None:
    put(world, APP)
    world.fault = lambda _method, path: status if "limit=" in path else None
    ran = wisp(revoke, *IDENTITY, *ACCOUNT)
    assert ran.status == 0
    assert names(world) == set()
    assert "warning: other grants cannot be listed" in ran.stderr


def test_dry_run_of_revoke_changes_nothing(world: apiserver.World, wisp: Any) -> None:
    put(world, APP)
    ran = wisp(revoke, *IDENTITY, *ACCOUNT, "--dry-run")
    assert ran.status == 0
    assert ran.stdout.count("deleted (dry run)") == 2
    assert names(world) == both(APP)


def test_list_is_a_table(world: apiserver.World, wisp: Any) -> None:
    put(world, APP, Grant(CLIENT_ID))
    ran = wisp(list_command)
    assert (ran.status, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].split("  ")[0] == "CLIENT ID"
    assert [line.split() for line in lines[1:]] == [
        [CLIENT_ID, "Group", "system:serviceaccounts", f"wisp-gateway:{CLIENT_ID}"],
        [CLIENT_ID, "ServiceAccount", "team/app", APP.name],
    ]
    assert len({line.index("wisp-gateway") for line in lines[1:]}) == 1


@pytest.mark.parametrize("form, load", [("json", json.loads), ("yaml", yaml.safe_load)], ids=["json", "yaml"])
def test_list_has_a_stable_schema(world: apiserver.World, wisp: Any, form: str, load: Any) -> None:
    put(world, APP, Grant(CLIENT_ID, "red"))
    assert load(wisp(list_command, "-o", form).stdout) == {
        "grants": [
            {
                "clientId": CLIENT_ID,
                "subject": {"kind": "Group", "name": "system:serviceaccounts:red"},
                "clusterRoleBinding": f"wisp-gateway:{CLIENT_ID}:red",
                "clusterRole": f"wisp-gateway:{CLIENT_ID}:red",
                "managed": True,
            },
            {
                "clientId": CLIENT_ID,
                "subject": {"kind": "ServiceAccount", "name": "app", "namespace": "team"},
                "clusterRoleBinding": APP.name,
                "clusterRole": APP.name,
                "managed": True,
            },
        ]
    }


def test_list_reads_thousands_of_bindings_in_pages(world: apiserver.World, wisp: Any) -> None:
    put(world, *(Grant(CLIENT_ID, "team", f"app-{number}") for number in range(1201)))
    ran = wisp(list_command, "-o", "json")
    assert len(json.loads(ran.stdout)["grants"]) == 1201
    assert world.count_requests(f"{BINDINGS}?") == 3


def test_list_begins_again_if_it_expires(world: apiserver.World, wisp: Any) -> None:
    put(world, *(Grant(CLIENT_ID, "team", f"app-{number}") for number in range(501)))
    faults = [410]
    world.fault = lambda _method, path: faults.pop() if faults and "continue=" in path else None
    assert len(json.loads(wisp(list_command, "-o", "json").stdout)["grants"]) == 501


@pytest.mark.parametrize(
    "options, shown",
    [
        ((), 4),
        (("--client-id", CLIENT_ID.upper()), 3),
        (("--client-id", CLIENT_ID, "--client-id", OTHER_ID), 4),
        (ACCOUNT, 3),
        (("--service-account", "red/app"), 2),
        ((*ACCOUNT, "--client-id", OTHER_ID), 1),
        (("--client-id", CLIENT_ID.replace("0", "f")), 0),
    ],
    ids=["all", "identity", "identities", "service account", "another service account", "both", "nothing"],
)
def test_list_can_be_narrowed(world: apiserver.World, wisp: Any, options: tuple[str, ...], shown: int) -> None:
    put(world, APP, Grant(CLIENT_ID, "red"), Grant(CLIENT_ID), Grant(OTHER_ID, "team", "app"))
    assert len(json.loads(wisp(list_command, "-o", "json", *options).stdout)["grants"]) == shown


def test_list_of_nothing_says_so(wisp: Any) -> None:
    assert wisp(list_command) == (0, "", "There are no grants.\n")


def test_names_cannot_control_the_terminal(world: apiserver.World, wisp: Any) -> None:
    binding = {**APP.binding, "metadata": {"name": "x\x1b[2J"}}
    world.put(ROLES, APP.role)
    world.put(BINDINGS, binding)
    ran = wisp(list_command)
    assert "\x1b" not in ran.stdout
    assert r"x\x1b[2J" in ran.stdout


@pytest.mark.parametrize(
    "options, problem",
    [
        (ACCOUNT, "Missing option '--client-id'"),
        (IDENTITY, "Give --service-account, --namespace or --all"),
        ((*IDENTITY, *ACCOUNT, "--all"), "--all includes every service account"),
        (("--client-id", "my-identity", *ACCOUNT), "'my-identity' is not a GUID"),
        (("--client-id", f"{{{CLIENT_ID}}}", *ACCOUNT), "is not a GUID"),
        ((*IDENTITY, "--service-account", "app"), "'app' is not NAMESPACE/NAME"),
        ((*IDENTITY, "--service-account", "/app"), "'/app' is not NAMESPACE/NAME"),
        ((*IDENTITY, "--service-account", "a/b/c"), "'a/b/c' is not NAMESPACE/NAME"),
        ((*IDENTITY, "--namespace", "$(id)"), "'$(id)' is not the name of a namespace"),
        ((*IDENTITY, "--namespace", ""), "'' is not the name of a namespace"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("command", [grant, revoke], ids=["grant", "revoke"])
def test_invalid_options_have_exit_status_2(command: click.Command, options: tuple[str, ...], problem: str) -> None:
    ran = run(command, *options)
    assert ran.status == 2
    assert problem in ran.stderr


@pytest.mark.parametrize(
    "command, options", [(grant, (*IDENTITY, *ACCOUNT)), (list_command, ())], ids=["grant", "list"]
)
def test_missing_right_is_reported(
    world: apiserver.World, wisp: Any, command: click.Command, options: tuple[str, ...]
) -> None:
    world.fault = lambda _method, _path: 403
    ran = wisp(command, *options)
    assert ran.status == 1
    assert "the API server forbids it: a fault on request" in ran.stderr


def test_right_to_grant_what_one_does_not_have_is_explained(world: apiserver.World, wisp: Any) -> None:
    def fault(method: str, _path: str) -> None:
        if method == "POST":
            raise apiserver.RefusalError(403, "attempting to grant RBAC permissions not currently held")

    world.fault = fault
    ran = wisp(grant, *IDENTITY, *ACCOUNT)
    assert ran.status == 1
    assert "ask for the verbs escalate and bind on clusterroles" in ran.stderr
