"""Managed clusters: https://learn.microsoft.com/rest/api/aks/managed-clusters."""

import base64
from collections.abc import Mapping

from wisp_local.cloud.arm import problem, reading
from wisp_local.cloud.arm.handler import Call, Handler, Reply, requires
from wisp_local.cloud.arm.managed_cluster import KIND, check, document, has_issuer, merged, requested
from wisp_local.cloud.arm.operations import begin
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.resources import find_group, in_scope
from wisp_local.cloud.cluster import Activity, ManagedCluster
from wisp_local.cloud.kubeconfig import check_kubeconfig
from wisp_local.cloud.roles import LIST_CLUSTER_ADMIN_CREDENTIAL, LIST_CLUSTER_USER_CREDENTIAL


def _find(call: Call) -> ManagedCluster:
    group = find_group(call)
    cluster = call.store.clusters.get(group.name, call.names["cluster"])
    if cluster is None:
        raise problem.resource_not_found(KIND, call.names["cluster"], group.name)
    return cluster


def issuer_url(call: Call, cluster: ManagedCluster) -> str:
    """Return the issuer URL of the attached API server, else of the issuer that this cloud runs for the cluster."""
    attachment = call.store.clusters.attachment(cluster.name)
    if attachment is not None and attachment.issuer_url:
        return attachment.issuer_url
    return call.base + call.store.issuers.named(call.store.clusters.ensure_issuer(cluster).issuer).path


def _document(call: Call, cluster: ManagedCluster) -> Mapping[str, object]:
    url = issuer_url(call, cluster) if has_issuer(cluster.requested) else ""
    return document(cluster, issuer_url=url, tenant_id=call.store.tenant().id, now=call.now)


def _list(call: Call) -> Reply:
    return call.page([_document(call, cluster) for cluster in in_scope(call, call.store.clusters.all())])


def _put(call: Call) -> Reply:
    group = find_group(call)
    existing = call.store.clusters.get(group.name, call.names["cluster"])
    location = reading.location(call.body)
    reading.tags(call.body)  # checked here, kept by `requested`
    properties = requested(call.body)
    if existing is None:
        check(properties, None)
        until = call.now + call.operation_seconds
        created = call.store.clusters.create(group, call.names["cluster"], location, properties, until=until)
        return _begun(call, created, 201)
    if existing.location != location:
        raise problem.resource_elsewhere(existing.resource_id, existing.location, location)
    return _update(call, existing, properties)


def _patch(call: Call) -> Reply:
    cluster = _find(call)
    reading.tags(call.body)
    return _update(call, cluster, merged(cluster.requested, requested(call.body)))


def check_idle(call: Call, cluster: ManagedCluster) -> None:
    """Raise `ResourceError` (409) while an operation on the cluster is in progress."""
    state = cluster.provisioning_state(call.now)
    if state != "Succeeded":
        message = f"Operation is not allowed because there's an in progress operation ({state}) on the managed cluster."
        raise ResourceError(409, "OperationNotAllowed", message)


def _update(call: Call, cluster: ManagedCluster, properties: Mapping[str, object]) -> Reply:
    check_idle(call, cluster)
    check(properties, cluster.requested)
    until = call.now + call.operation_seconds
    return _begun(call, call.store.clusters.change(cluster, Activity.UPDATING, until, properties), 200)


def _begun(call: Call, cluster: ManagedCluster, status: int) -> Reply:
    headers = begin(call, operations_path(cluster), location=False)
    return Reply(status, _document(call, cluster), headers)


def operations_path(cluster: ManagedCluster) -> str:
    """Return the path below which operations on the cluster are."""
    provider = f"/subscriptions/{cluster.subscription_id}/providers/Microsoft.ContainerService"
    return f"{provider}/locations/{cluster.location}"


def _delete(call: Call) -> Reply:
    """Answer 202 with a status URL, or 204 when there is no such cluster: `az` treats 200 as an error."""
    group = find_group(call)
    cluster = call.store.clusters.get(group.name, call.names["cluster"])
    if cluster is None:
        return Reply(204)
    if cluster.activity is not Activity.DELETING:
        call.store.clusters.change(cluster, Activity.DELETING, call.now + call.operation_seconds, cluster.requested)
    return Reply(202, headers=begin(call, operations_path(cluster)))


def _list_credential(kind: str) -> Handler:
    """Return the handler that answers with the kubeconfig of `clusterUser` or `clusterAdmin`."""

    def answer(call: Call) -> Reply:
        cluster = _find(call)
        attachment = call.store.clusters.attachment(cluster.name)
        if attachment is None or not attachment.kubeconfig:
            message = (
                f"No API server is attached to the managed cluster '{cluster.name}': this local cloud keeps clusters "
                f"as records. Attach one with `wisp cloud cluster attach {cluster.name} --kubeconfig=FILE`."
            )
            raise ResourceError(400, "ClusterWithoutApiServer", message)
        user = f"{kind}_{cluster.resource_group}_{cluster.name}"
        # `az aks get-credentials` merges this context, and gives administrators' contexts their `-admin` itself.
        config = check_kubeconfig(attachment.kubeconfig)
        text = config.document(cluster=cluster.name, user=user, context=cluster.name)
        return Reply(200, {"kubeconfigs": [{"name": kind, "value": base64.b64encode(text.encode()).decode()}]})

    return answer


_GROUP = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{KIND}"
_ONE = f"{_GROUP}/{{cluster}}"
ROUTES = {
    f"GET /subscriptions/{{subscription}}/providers/{KIND}": _list,
    f"GET {_GROUP}": _list,
    f"GET {_ONE}": lambda call: Reply(200, _document(call, _find(call))),
    f"PUT {_ONE}": _put,
    f"PATCH {_ONE}": _patch,
    f"DELETE {_ONE}": _delete,
    f"POST {_ONE}/listClusterUserCredential": requires(LIST_CLUSTER_USER_CREDENTIAL, _list_credential("clusterUser")),
    f"POST {_ONE}/listClusterAdminCredential": requires(
        LIST_CLUSTER_ADMIN_CREDENTIAL, _list_credential("clusterAdmin")
    ),
}
