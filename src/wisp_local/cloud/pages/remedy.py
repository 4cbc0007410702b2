"""The commands that would make a refused assertion acceptable; knows the strings and Azure's rules for them, no shell.

Every value is the client's own and ends up in somebody's terminal. What Azure would not take as part of a federated
credential, line breaks and control characters among it, gets no command at all, nor does what `az` would take for the
name of a file. The rest is quoted for POSIX shells and written as `--option=value`, so that no value is an option.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wisp_local.cloud.entra.directory import (
    DEFAULT_AUDIENCE,
    Application,
    Client,
    FederatedCredential,
    ManagedIdentity,
)
from wisp_local.cloud.errors import RequestError
from wisp_local.cloud.names import MAXIMUM_FEDERATED_CREDENTIALS, check_credential
from wisp_local.cloud.pages.nearest import Presented


@dataclass(frozen=True)
class Remedy:
    """What can be done: a heading, the command for `az`, and the same for the local cloud's own, if it has one."""

    title: str
    az: str
    wisp: str


def remedies(
    presented: Presented,
    client: Client,
    credentials: Sequence[FederatedCredential],
    meant: FederatedCredential | None,
) -> tuple[Remedy, ...]:
    """Return the ways out, the likeliest first; none when Azure would refuse what was presented."""
    if not _is_possible(presented):
        return ()
    return tuple(_ways(presented, client, credentials, meant))


def _ways(
    presented: Presented,
    client: Client,
    credentials: Sequence[FederatedCredential],
    meant: FederatedCredential | None,
) -> Iterator[Remedy]:
    if meant is not None:
        yield _remedy(f"Correct {meant.name}", "update", meant.name, presented, client)
    taken = any((each.issuer, each.subject) == (presented.issuer, presented.subject) for each in credentials)
    if not taken and len(credentials) < MAXIMUM_FEDERATED_CREDENTIALS:
        title = "Trust this subject" if meant is None else f"Or keep {meant.name} and trust this subject as well"
        yield _remedy(title, "create", _new_name(presented, credentials), presented, client)


def _is_possible(presented: Presented) -> bool:
    try:
        check_credential(FederatedCredential("presented", presented.issuer, presented.subject, (presented.audience,)))
    except RequestError:
        return False
    # az replaces a value that begins with @ by the content of that file, and would send it to Azure.
    return not any(each.startswith("@") for each in (presented.subject, presented.audience))


def _new_name(presented: Presented, credentials: Sequence[FederatedCredential]) -> str:
    """Name it after what it trusts, as far as names allow, and unlike any other."""
    last = "".join(each if each.isascii() and each.isalnum() else "-" for each in presented.subject.split(":")[-1])
    base, names = f"{last.strip('-')[:100] or 'subject'}-federated-id", {each.name.lower() for each in credentials}
    candidates = [base, *(f"{base}-{number}" for number in range(2, MAXIMUM_FEDERATED_CREDENTIALS + 2))]
    return next(each for each in candidates if each.lower() not in names)


def _remedy(title: str, verb: str, name: str, presented: Presented, client: Client) -> Remedy:
    if isinstance(client, Application):
        return Remedy(title, _lines(_of_application(verb, name, presented, client)), "")
    return _of_identity(title, f"{verb} {_option('name', name)}", presented, client)


def _of_identity(title: str, verb: str, presented: Presented, identity: ManagedIdentity) -> Remedy:
    audience = () if verb.startswith("create") and presented.audience == DEFAULT_AUDIENCE else (presented.audience,)
    group = _option("resource-group", identity.resource_group)
    trusted = _option("issuer", presented.issuer), _option("subject", presented.subject)
    audiences = (_option("audiences", each) for each in audience)
    whose = f"{_option('identity-name', identity.name)} {group}"
    az = _lines((f"az identity federated-credential {verb}", whose, *trusted, *audiences))
    own = f'wisp cloud federate --state="$STATE" {verb.partition(" ")[2]}'
    whose = f"{_option('identity', identity.name)} {group}"
    return Remedy(title, az, _lines((own, whose, *trusted, _option("audience", presented.audience))))


def _of_application(verb: str, name: str, presented: Presented, application: Application) -> tuple[str, ...]:
    """Write it as `az ad app` wants it: Microsoft Graph's own document."""
    audiences = [presented.audience]
    document = {"name": name, "issuer": presented.issuer, "subject": presented.subject, "audiences": audiences}
    which = f" {_option('federated-credential-id', name)}" if verb == "update" else ""
    return (
        f"az ad app federated-credential {verb} {_option('id', application.client_id)}{which}",
        _option("parameters", json.dumps(document, ensure_ascii=False)),
    )


def _lines(parts: Sequence[str]) -> str:
    return " \\\n  ".join(parts)


def _option(name: str, value: str) -> str:
    return f"--{name}={shlex.quote(value)}"
