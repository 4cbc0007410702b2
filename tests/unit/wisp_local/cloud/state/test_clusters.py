"""API servers attached to managed clusters, found by the issuer of their service account tokens."""

from tests.unit.wisp_local.cloud.small_azure import BASE_URL
from wisp_local.cloud.cluster import ANY, Attachment
from wisp_local.cloud.state.store import Store


def test_attached_api_server_is_found_by_its_issuer(store: Store) -> None:
    """The issuer is its own, or the one that the cloud runs for the cluster of that name."""
    elsewhere, own = Attachment(ANY, "any", "https://issuer.test/"), Attachment("wilab", "own")
    store.clusters.attach(elsewhere)
    store.clusters.attach(own)
    url = BASE_URL + store.issuers.put("WILAB").path
    issuers = ("https://issuer.test/", url)
    assert [store.clusters.attachment_of_issuer(issuer, [BASE_URL]) for issuer in issuers] == [elsewhere, own]
    for unknown in ("", "https://issuer.test", f"{BASE_URL}/oidc/absent/", url.replace("cloud", "other")):
        assert store.clusters.attachment_of_issuer(unknown, [BASE_URL]) is None


def test_api_server_with_an_issuer_of_its_own_is_not_found_by_the_clusters(store: Store) -> None:
    """The cloud's issuer of that name signs none of its tokens."""
    store.clusters.attach(Attachment("wilab", "own", "https://issuer.test/"))
    url = BASE_URL + store.issuers.put("wilab").path
    assert store.clusters.attachment_of_issuer(url, [BASE_URL]) is None
