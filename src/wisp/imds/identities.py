"""Resolve selectors to the client id of an identity, by the settings and by what earlier tokens said."""

from typing import NamedTuple

from wisp.azure import is_guid
from wisp.base.secret import Secret
from wisp.imds.answer import Refusal, invalid
from wisp.imds.request import Selector

_MOST = 128
_LONGEST_SHOWN = 256
_LONGEST_NAME = 36
_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_/"
_LONGEST_SEGMENT = 128
"""Characters of the longest name in a resource id; a token is longer."""
NOT_FOUND = invalid("Identity not found")


class Resolution(NamedTuple):
    """The identity that selectors name; `client_id` is None if the pod has no such identity.

    If it is not `certain`, a selector is unknown and may be another name of `client_id`: its token will tell.
    """

    client_id: str | None
    certain: bool = True


class Identities:
    """The pod's identities: the default one, and the other names of identities.

    Any client id may be selected: a service account can be federated with several identities, and Entra knows with
    which. An object id or a resource id is known from the settings, or once a token of the identity has named its own.
    `header` is what clients that use App Service's dialect must send, and with `header_required` all others too.
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
        """Remember other names of the identity `client_id`; return whether any is new."""
        names = [
            Selector("object_id", (object_id or "").lower()),
            Selector("resource_id", _normal_id(resource_id or "")),
        ]
        new = {name: client_id for name in names if name.value and self._client_ids.get(name) != client_id}
        if len(self._client_ids) + len(new) > _MOST:
            return False
        self._client_ids.update(new)
        return bool(new)

    def resolve(self, selectors: tuple[Selector, ...]) -> Resolution:
        """Return the one identity that all of `selectors` name; the default one if there are no selectors."""
        if not selectors:
            return Resolution(self.default)
        client_ids = {selector: self.client_id_of(selector) for selector in selectors}
        known = {client_id for client_id in client_ids.values() if client_id is not None}
        unknown = {_normalized(selector) for selector, client_id in client_ids.items() if client_id is None}
        if len(known) > 1:
            return Resolution(None)
        client_id = known.pop() if known else self.default
        if not unknown:
            return Resolution(client_id)
        ambiguous = len({selector.kind for selector in unknown}) < len(unknown)
        if client_id is None or ambiguous or not all(self._may_name(selector, client_id) for selector in unknown):
            return Resolution(None)
        return Resolution(client_id, certain=False)

    def _may_name(self, selector: Selector, client_id: str) -> bool:
        """Return whether `selector`, which is not known, can be a name of `client_id` that is still to be learnt.

        If its name of that kind is known, from the settings or a token, a different one is another identity's.
        """
        return selector.kind != "client_id" and not any(
            name.kind == selector.kind and known == client_id for name, known in self._client_ids.items()
        )

    def client_id_of(self, selector: Selector) -> str | None:
        """Return the client id that the selector names, or None if the pod has no such identity."""
        selector = _normalized(selector)
        if selector.kind == "client_id":
            return selector.value if is_guid(selector.value) else None
        return self._client_ids.get(selector)


def refusal_of(selectors: tuple[tuple[str, Selector], ...]) -> Refusal:
    """Return the refusal of a request whose selectors name no identity, or different ones."""
    distinct = {_normalized(selector): (parameter, selector) for parameter, selector in selectors}
    if len(distinct) < 2:
        return NOT_FOUND
    first, *others, last = (f"{parameter}={_readable(selector)}" for parameter, selector in distinct.values())
    return invalid(
        f"{', '.join((first, *others))} and {last} are not known to name the same identity: name the identity once"
    )


def _normalized(selector: Selector) -> Selector:
    """Return `selector` in the spelling that names are compared in: Azure ignores case and a last slash."""
    value = _normal_id(selector.value) if selector.kind == "resource_id" else selector.value.lower()
    return Selector(selector.kind, value)


def _readable(selector: Selector) -> str:
    """Return what an error, which is also logged, shows of a selector: an id, or a plain name in its place.

    Anything else may be a secret in the wrong parameter: a token has dots, as most client secrets of Entra do.
    """
    value = selector.value
    if selector.kind == "resource_id" and value.startswith("/subscriptions/"):
        is_name = max(map(len, value.split("/"))) <= _LONGEST_SEGMENT
    else:
        is_name = is_guid(value) or (len(value) <= _LONGEST_NAME and not value.strip(_NAME_CHARACTERS))
    return value[:_LONGEST_SHOWN] if is_name and value.isprintable() else "(not an id)"


def _normal_id(resource_id: str) -> str:
    return resource_id.strip().rstrip("/").lower()
