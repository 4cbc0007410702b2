"""What a seed file may say, as a table: the parser, the JSON schema for editors and the document follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wisp_local.cloud.directory import DEFAULT_AUDIENCE

_GUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


@dataclass(frozen=True)
class Key:
    """A key of a mapping: its value is text, a GUID, or a mapping of the keys `inside`; `many` make it a list."""

    name: str
    says: str
    required: bool = False
    guid: bool = False
    inside: "tuple[Key, ...]" = ()
    many: bool = False


_CREDENTIAL = (
    Key("name", "its name", required=True),
    Key("issuer", "https URL exactly as in the tokens, or the name of one of `issuers`", required=True),
    Key("subject", "for a service account `system:serviceaccount:NAMESPACE:NAME`", required=True),
    Key("audience", f"`{DEFAULT_AUDIENCE}` when absent"),
)
_IDENTITY = (
    Key("name", "its name", required=True),
    Key("resourceGroup", "made when new", required=True),
    Key("location", "region; its group's when absent, else `eastus`"),
    Key("clientId", "any when absent", guid=True),
    Key("principalId", "the object id; any when absent", guid=True),
    Key("federatedCredentials", "up to 20", inside=_CREDENTIAL, many=True),
)
_ISSUER = (
    Key("name", "of the cluster, or what `issuer` calls it by", required=True),
    Key("url", "of an issuer elsewhere; without it, it is one of this cloud's own"),
    Key("id", "of an issuer of this cloud's own, whose path is `/oidc/ID/`; any when absent", guid=True),
)
_DIRECTORY = (Key("id", "any when absent", guid=True), Key("name", "its display name"))
ROOT = (
    Key("tenant", "the one tenant", inside=_DIRECTORY),
    Key("subscription", "the one subscription", inside=_DIRECTORY),
    Key(
        "resourceGroups",
        "those that are to be elsewhere than in `eastus`, or to have nothing in them",
        inside=(Key("name", "its name", required=True), Key("location", "region; `eastus` when absent")),
        many=True,
    ),
    Key("issuers", "who signs assertions", inside=_ISSUER, many=True),
    Key("identities", "user-assigned managed identities", inside=_IDENTITY, many=True),
    Key("resources", "what tokens can be asked for besides Azure's own, such as `api://my-api`", many=True),
)


def json_schema() -> dict[str, object]:
    """Return the JSON schema (2020-12) of a seed file, which editors complete and check it by."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Seed of a wisp local cloud",
        **_object(ROOT),
    }


def _object(keys: Sequence[Key]) -> dict[str, object]:
    required = [each.name for each in keys if each.required]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {each.name: _property(each) for each in keys},
        **({"required": required} if required else {}),
    }


def _property(key: Key) -> Mapping[str, object]:
    text = {"type": "string", **({"pattern": _GUID} if key.guid else {})}
    one = _object(key.inside) if key.inside else text
    return {"description": key.says, **({"type": "array", "items": one} if key.many else one)}
