"""Decides which client id a selector means, by what settings and earlier tokens say. Knows no socket, no clock."""

from wisp.azure import is_guid
from wisp.imds.decision import Selector
from wisp.secret import Secret

_MOST = 128


class Identities:
    """The pod's identities: the default one, and the other names by which identities are known.

    Any client id may be asked for: a service account can be federated with several identities, and Entra knows with
    which. An object id or a resource id is known from the settings, or once a token of the identity has told its own.
    `header` is what clients that speak App Service's dialect must show, and where `header_required` all others, too.
    """

    def __init__(
        self,
        client_id: str | None,
        *,
        object_id: str | None = None,
        resource_id: str | None = None,
        header: Secret | None = None,
        header_required: bool = False,
    ) -> None:
        self.default = client_id
        self.header = header
        self.header_required = header_required
        self._client_ids: dict[Selector, str] = {}
        if client_id is not None:
            self.learn(client_id, object_id, resource_id)

    def learn(self, client_id: str, object_id: str | None, resource_id: str | None) -> bool:
        """Take note of other names of the identity `client_id`; say whether any was new."""
        names = [Selector("object_id", (object_id or "").lower()), Selector("resource_id", _plain(resource_id or ""))]
        new = {name: client_id for name in names if name.value and self._client_ids.get(name) != client_id}
        if len(self._client_ids) + len(new) <= _MOST:
            self._client_ids.update(new)
        return bool(new)

    def may_be_default(self, selector: Selector) -> bool:
        """Say whether `selector`, which is not known, can be a name of the default identity's that is yet to be learnt.

        Where its name of that kind is known, by settings or by a token, another one is another identity's.
        """
        learnt = any(
            name.kind == selector.kind and client_id == self.default for name, client_id in self._client_ids.items()
        )
        return self.default is not None and selector.kind != "client_id" and not learnt

    def client_id_of(self, selector: Selector | None) -> str | None:
        """Return the client id that is meant, or None where the pod has no such identity."""
        if selector is None:
            return self.default
        if selector.kind == "client_id":
            return selector.value.lower() if is_guid(selector.value) else None
        value = _plain(selector.value) if selector.kind == "resource_id" else selector.value.lower()
        return self._client_ids.get(Selector(selector.kind, value))


def _plain(resource_id: str) -> str:
    """Return a resource id in the spelling that ids are compared in: Azure minds neither case nor a last slash."""
    return resource_id.strip().rstrip("/").lower()
