"""Identity bindings in the state file."""

from dataclasses import replace

import pytest

from tests.unit.wisp_local.cloud.small_azure import Clock, KeyPool
from wisp_local.cloud.cluster import Activity, IdentityBinding, ManagedCluster
from wisp_local.cloud.state.store import Store


@pytest.fixture
def cluster(store: Store) -> ManagedCluster:
    """Give a managed cluster."""
    return store.clusters.create(store.put_resource_group("RG", "eastus"), "wilab", "eastus", {}, until=0)


def _binding(cluster: ManagedCluster, name: str = "ib") -> IdentityBinding:
    place = (cluster.subscription_id, cluster.resource_group, cluster.name)
    return IdentityBinding(*place, name, "/id", "client", "principal", "https://issuer.test/", Activity.CREATING, 7.5)


def test_binding_survives_a_restart(store: Store, cluster: ManagedCluster, clock: Clock, new_key: KeyPool) -> None:
    """It is in the state file, with all its fields."""
    store.bindings.put(_binding(cluster))
    with Store(store.path, clock, new_key=new_key) as reopened:
        assert reopened.bindings.of(cluster) == [_binding(cluster)]


def test_bindings_are_found_in_any_case_and_listed_by_name(store: Store, cluster: ManagedCluster) -> None:
    """Another cluster's are not among them."""
    other = store.clusters.create(store.resource_group("RG"), "other", "eastus", {}, until=0)
    for place, name in ((cluster, "b"), (cluster, "A"), (other, "c")):
        store.bindings.put(_binding(place, name))
    assert store.bindings.get(replace(cluster, name="WILAB"), "B") == _binding(cluster, "b")
    assert store.bindings.get(cluster, "c") is None
    assert [binding.name for binding in store.bindings.of(cluster)] == ["A", "b"]


def test_binding_is_replaced_by_one_of_its_name(store: Store, cluster: ManagedCluster) -> None:
    """There is one of each name, in any case."""
    store.bindings.put(_binding(cluster))
    store.bindings.put(replace(_binding(cluster, "IB"), identity_id="/new"))
    assert [binding.identity_id for binding in store.bindings.of(cluster)] == ["/new"]


def test_deleted_binding_is_gone_when_the_deletion_has_ended(
    store: Store, cluster: ManagedCluster, clock: Clock
) -> None:
    """Until then it is there."""
    store.bindings.put(replace(_binding(cluster), activity=Activity.DELETING, until=clock.now + 1))
    assert store.bindings.of(cluster)[0].provisioning_state(clock.now) == "Deleting"
    clock.now += 1
    assert store.bindings.of(cluster) == []
