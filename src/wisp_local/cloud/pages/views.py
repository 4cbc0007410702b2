"""What the templates of the lists are told: reads the state and the record, decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from wisp_local.cloud.cluster import ManagedCluster
from wisp_local.cloud.issuer import KEYS_PATH
from wisp_local.cloud.pages.listing import line
from wisp_local.cloud.pages.record import Record
from wisp_local.cloud.web import Site

_RECENT = 25  # exchanges on the front page
_IDENTITIES = 50  # on a page; there may be ten thousand
Told = Mapping[str, object]


@dataclass(frozen=True)
class Views:
    """The contents of the lists, from `site` and `record`."""

    site: Site
    record: Record

    def overview(self, wanted: str, number: int) -> Told:
        """Tell of all there is; of the identities, page `number` (from 1) of those with `wanted` in their name."""
        entries = self.record.newest()
        issuers = self.site.store.issuers.all()
        return {
            **self.cloud(),
            **self._identities(wanted, number),
            "lines": [line(each) for each in entries[:_RECENT]],
            "total": len(entries),
            "limit": _RECENT,
            "clusters": [(each, self._issuer_of(each)) for each in self.site.store.clusters.all()],
            "issuers": [(each, self.site.base_url + each.path, KEYS_PATH) for each in issuers],
        }

    def exchanges(self) -> Told:
        """Tell of every exchange that is kept."""
        lines = [line(each) for each in self.record.newest()]
        return {**self.cloud(), "lines": lines, "total": len(lines), "limit": self.record.kept}

    def news(self, after: str) -> Told | None:
        """Tell of the exchanges after the one with that trace id; None when that one is not kept (any more)."""
        entries = self.record.after(after)
        return None if entries is None else {"lines": [line(each) for each in entries]}

    def cloud(self) -> Told:
        """Tell whose page this is."""
        store = self.site.store
        return {
            "tenant": store.tenant(),
            "base_url": self.site.base_url,
            "now": store.clock(),
            "kept": self.record.kept,
        }

    def _issuer_of(self, cluster: ManagedCluster) -> str:
        """Return the URL of the issuer behind the cluster, else of the one that this cloud runs for it, if any."""
        store = self.site.store
        backing = store.clusters.attachment(cluster.name)
        if backing is not None and backing.issuer_url:
            return backing.issuer_url
        return self.site.base_url + store.issuers.named(cluster.issuer).path if cluster.issuer else ""

    def _identities(self, wanted: str, number: int) -> Told:
        store = self.site.store
        found = [each for each in store.identities() if wanted.casefold() in each.name.casefold()]
        pages = max(1, -(-len(found) // _IDENTITIES))
        number = min(max(number, 1), pages)
        shown = found[(number - 1) * _IDENTITIES : number * _IDENTITIES]
        pairs = [(each, store.federated_credentials(each)) for each in shown]
        return {"identities": pairs, "wanted": wanted, "found": len(found), "number": number, "pages": pages}
