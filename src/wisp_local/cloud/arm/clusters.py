"""Managed clusters: https://learn.microsoft.com/rest/api/aks/managed-clusters."""

import base64
from collections.abc import Mapping

from wisp_local.cloud.arm import groups, problem, reading
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.managed_cluster import KIND, asked, check, has_issuer, merged, rendered
from wisp_local.cloud.arm.operations import accepted
from wisp_local.cloud.arm.permission import requires
from wisp_local.cloud.backing import usable_kubeconfig
from wisp_local.cloud.cluster import Activity, ManagedCluster
from wisp_local.cloud.roles import LIST_CLUSTER_ADMIN_CREDENTIAL, LIST_CLUSTER_USER_CREDENTIAL


def _find(call: Call) -> ManagedCluster:
    group = groups.find(call)
    found = call.store.clusters.get(group.name, call.names["cluster"])
    if found is None:
        raise problem.resource_not_found(KIND, call.names["cluster"], group.name)
    return found


def _issuer_url(call: Call, cluster: ManagedCluster) -> str:
    """Return the URL of its issuer: that of the API server behind it, else of the one that this cloud runs for it."""
    if not has_issuer(cluster.requested):
        return ""
    backing = call.store.clusters.attachment(cluster.name)
    if backing is not None and backing.issuer_url:
        return backing.issuer_url
    return call.base + call.store.issuers.named(call.store.clusters.ensure_issuer(cluster).issuer).path


def _rendered(call: Call, cluster: ManagedCluster) -> Mapping[str, object]:
    tenant_id = call.store.tenant().id
    return rendered(cluster, issuer_url=_issuer_url(call, cluster), tenant_id=tenant_id, now=call.now)


def _list(call: Call) -> Reply:
    return call.page([_rendered(call, each) for each in call.store.clusters.all()])


def _list_of_group(call: Call) -> Reply:
    group = groups.find(call)
    found = [each for each in call.store.clusters.all() if each.resource_group.lower() == group.name.lower()]
    return call.page([_rendered(call, each) for each in found])


def _show(call: Call) -> Reply:
    return Reply(200, _rendered(call, _find(call)))


def _put(call: Call) -> Reply:
    group = groups.find(call)
    old, location = call.store.clusters.get(group.name, call.names["cluster"]), reading.location(call.body)
    reading.tags(call.body)
    wanted = asked(call.body)
    if old is None:
        check(wanted, None)
        until = call.now + call.operation_seconds
        made = call.store.clusters.create(group, call.names["cluster"], location, wanted, until=until)
        return _begun(call, made, 201)
    if old.location != location:
        raise problem.resource_elsewhere(old.resource_id, old.location, location)
    return _changed(call, old, wanted)


def _patch(call: Call) -> Reply:
    old = _find(call)
    reading.tags(call.body)
    return _changed(call, old, merged(old.requested, asked(call.body)))


def _changed(call: Call, old: ManagedCluster, wanted: Mapping[str, object]) -> Reply:
    _must_be_idle(call, old)
    check(wanted, old.requested)
    until = call.now + call.operation_seconds
    return _begun(call, call.store.clusters.change(old, Activity.UPDATING, until, wanted), 200)


def _must_be_idle(call: Call, cluster: ManagedCluster) -> None:
    state = cluster.provisioning_state(call.now)
    if state != "Succeeded":
        message = f"Operation is not allowed because there's an in progress operation ({state}) on the managed cluster."
        raise problem.operation_not_allowed(message)


def _begun(call: Call, cluster: ManagedCluster, status: int) -> Reply:
    headers = accepted(call, _operations(cluster), location=False).headers
    return Reply(status, _rendered(call, cluster), headers)


def _operations(cluster: ManagedCluster) -> str:
    provider = f"/subscriptions/{cluster.subscription_id}/providers/Microsoft.ContainerService"
    return f"{provider}/locations/{cluster.location}"


def _delete(call: Call) -> Reply:
    """Answer 202 and where to ask, or 204 when there is none: `az` takes a 200 for an error."""
    group = groups.find(call)
    found = call.store.clusters.get(group.name, call.names["cluster"])
    if found is None:
        return Reply(204)
    if found.activity is not Activity.DELETING:
        call.store.clusters.change(found, Activity.DELETING, call.now + call.operation_seconds, found.requested)
    return accepted(call, _operations(found))


def _user_credential(call: Call) -> Reply:
    return _credential(call, "clusterUser")


def _admin_credential(call: Call) -> Reply:
    return _credential(call, "clusterAdmin")


def _credential(call: Call, kind: str) -> Reply:
    cluster = _find(call)
    backing = call.store.clusters.attachment(cluster.name)
    if backing is None or not backing.kubeconfig:
        message = (
            f"There is no API server behind the managed cluster '{cluster.name}': this local cloud keeps clusters as "
            f"records. Give it one with `wisp cloud cluster back {cluster.name} --kubeconfig=FILE`."
        )
        raise problem.ResourceError(400, "ClusterWithoutApiServer", message)
    user = f"{kind}_{cluster.resource_group}_{cluster.name}"
    # `az aks get-credentials` merges this context, and gives administrators' contexts their `-admin` itself.
    config = usable_kubeconfig(backing.kubeconfig)
    text = config.document(cluster=cluster.name, user=user, context=cluster.name)
    return Reply(200, {"kubeconfigs": [{"name": kind, "value": base64.b64encode(text.encode()).decode()}]})


_TYPE = "providers/Microsoft.ContainerService/managedClusters"
_GROUP = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{_TYPE}"
_ONE = f"{_GROUP}/{{cluster}}"
ROUTES = {
    f"GET /subscriptions/{{subscription}}/{_TYPE}": _list,
    f"GET {_GROUP}": _list_of_group,
    f"GET {_ONE}": _show,
    f"PUT {_ONE}": _put,
    f"PATCH {_ONE}": _patch,
    f"DELETE {_ONE}": _delete,
    f"POST {_ONE}/listClusterUserCredential": requires(LIST_CLUSTER_USER_CREDENTIAL, _user_credential),
    f"POST {_ONE}/listClusterAdminCredential": requires(LIST_CLUSTER_ADMIN_CREDENTIAL, _admin_credential),
}
