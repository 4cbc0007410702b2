"""Decides which client id selectors mean, by what settings and earlier tokens say. Knows no socket, no clock."""

from typing import NamedTuple

from wisp.azure.clouds import is_guid
from wisp.base.secret import Secret
from wisp.imds.decision import NamedSelector, Refuse, Selector, invalid

_MOST = 128
_LONGEST_SHOWN = 256
_LONGEST_NAME = 36
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_/")
_LONGEST_SEGMENT = 128
"""Characters of the longest name in a resource id; a token is longer."""
NOT_FOUND = invalid("Identity not found")


class Meaning(NamedTuple):
    """The identity that selectors mean, None if there is no such identity.

    If it is not `certain`, a selector is unknown and may be another name of `client_id`, which its token will tell.
    """

    client_id: str | None
    certain: bool = True


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

    def meaning_of(self, selectors: tuple[Selector, ...]) -> Meaning:
        """Return the one identity that all of `selectors` mean; the default one if `selectors` is empty."""
        if not selectors:
            return Meaning(self.default)
        client_ids = {selector: self.client_id_of(selector) for selector in selectors}
        known = {client_id for client_id in client_ids.values() if client_id is not None}
        unknown = {_compared(selector) for selector, client_id in client_ids.items() if client_id is None}
        if len(known) > 1:
            return Meaning(None)
        client_id = known.pop() if known else self.default
        if not unknown:
            return Meaning(client_id)
        ambiguous = len({selector.kind for selector in unknown}) < len(unknown)
        if client_id is None or ambiguous or not all(self._may_mean(selector, client_id) for selector in unknown):
            return Meaning(None)
        return Meaning(client_id, certain=False)

    def _may_mean(self, selector: Selector, client_id: str) -> bool:
        """Say whether `selector`, which is not known, can be a name of `client_id` that is yet to be learnt.

        If its name of that kind is known, by settings or by a token, another one is another identity's.
        """
        return selector.kind != "client_id" and not any(
            name.kind == selector.kind and known == client_id for name, known in self._client_ids.items()
        )

    def client_id_of(self, selector: Selector) -> str | None:
        """Return the client id that is meant, or None where the pod has no such identity."""
        selector = _compared(selector)
        if selector.kind == "client_id":
            return selector.value if is_guid(selector.value) else None
        return self._client_ids.get(selector)


def refusal_of(selectors: tuple[NamedSelector, ...]) -> Refuse:
    """Return the refusal of a request whose `selectors` mean no identity, or not the same one."""
    distinct = {_compared(named.selector): named for named in selectors}
    if len(distinct) < 2:
        return NOT_FOUND
    first, *others, last = (f"{named.parameter}={_readable(named.selector)}" for named in distinct.values())
    return invalid(
        f"{', '.join((first, *others))} and {last} are not known to name the same identity: name the identity once"
    )


def _compared(selector: Selector) -> Selector:
    """Return `selector` in the spelling that names are compared in: Azure minds neither case nor a last slash."""
    value = _plain(selector.value) if selector.kind == "resource_id" else selector.value.lower()
    return Selector(selector.kind, value)


def _readable(selector: Selector) -> str:
    """Return what an error, which is also logged, shows of a selector: an id, or a plain name in its place.

    Anything else may be a secret in the wrong parameter; a token has dots, and a client secret of Entra's as a rule.
    """
    value = selector.value
    if selector.kind == "resource_id" and value.startswith("/subscriptions/"):
        is_name = max(map(len, value.split("/"))) <= _LONGEST_SEGMENT
    else:
        is_name = is_guid(value) or (len(value) <= _LONGEST_NAME and _NAME_CHARACTERS.issuperset(value))
    return value[:_LONGEST_SHOWN] if is_name and value.isprintable() else "(not an id)"


def _plain(resource_id: str) -> str:
    """Return a resource id in the spelling that ids are compared in."""
    return resource_id.strip().rstrip("/").lower()
