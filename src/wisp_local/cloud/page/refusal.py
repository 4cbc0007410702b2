"""What a refusal means in plain words, and how to fix it: advice, or the command that corrects the credential.

Every value in a command is the client's own and ends up in somebody's terminal. What Azure would not accept in a
federated credential, line breaks and control characters included, gets no command at all, nor does what `az` would
take for the name of a file. The rest is quoted for POSIX shells and written as `--option=value`, so that no value can
become an option.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from wisp_local.cloud.entra.audiences import AzureCloud, suggest
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, Application, Client, FederatedCredential, ManagedIdentity
from wisp_local.cloud.entra.refusals import LONGEST_ASSERTION, Refused
from wisp_local.cloud.errors import RequestError
from wisp_local.cloud.names import MAXIMUM_FEDERATED_CREDENTIALS, check_credential
from wisp_local.cloud.page.explanation import ComparedField
from wisp_local.cloud.page.tokens import TEXTS, Decoded, Presented, moment, number, span


@dataclass(frozen=True)
class Remedy:
    """A way to fix a refusal: a heading, the command for `az`, and the command for `wisp cloud` if there is one."""

    title: str
    az: str
    wisp: str


def summary(refused: Refused, compared: Sequence[ComparedField]) -> str:
    """Return one line without a full stop: the first field that differs, else the meaning of the code."""
    for field in compared:
        if not field.matches:
            return f"{field.field.value} {field.explanation}"
    text: str = TEXTS["summaries"].get(str(refused.code), "")
    return text.format(hours=LONGEST_ASSERTION // 3600) or refused.text.partition(". ")[0].rstrip(".")


def fix(refused: Refused, resource: str, cloud: AzureCloud) -> str:
    """Return how to fix a refusal that no federated credential is to blame for; may be empty.

    `resource` is what a token was requested for, `cloud` the one whose services are resources here.
    """
    if refused.code != 500011:
        return str(TEXTS["fixes"].get(str(refused.code), ""))
    found = suggest(resource, cloud)
    if found is None:
        return 'If the resource is your own, register it: wisp cloud resource --state="$STATE" URI.'
    if found.cloud is cloud:
        return f"Request a token for {found.resource}: {resource} belongs to {found.service}, but is not a resource."
    instead = f"Request {found.resource} in this one" if found.resource else f"{cloud.value} has no such service"
    return (
        f"{resource} belongs to {found.service} in {found.cloud.value}, and this cloud is {cloud.value}. {instead}, or "
        f"start the cloud with --azure-cloud {found.cloud.value}."
    )


def time_problem(assertion: Decoded, at: float) -> str:
    """Return how the assertion was outside its valid time at `at` (Unix seconds); empty when it was not."""
    starts, ends = number(assertion.payload, "nbf"), number(assertion.payload, "exp")
    if ends is None:
        return "has no expiry"
    if at >= ends:
        return f"expired {span(at - ends)} before it was presented"
    if starts is not None and at < starts:
        return f"is valid only {span(starts - at)} after it was presented"
    return ""


def valid_time(assertion: Decoded) -> str:
    """Write from when to when the assertion is valid."""
    starts, ends = number(assertion.payload, "nbf"), number(assertion.payload, "exp")
    return f"{'always' if starts is None else moment(starts)} to {'no end' if ends is None else moment(ends)}"


def remedies(
    presented: Presented,
    client: Client,
    credentials: Sequence[FederatedCredential],
    nearest: FederatedCredential | None,
) -> tuple[Remedy, ...]:
    """Return the commands that fix a mismatch, the likeliest first; none when Azure would refuse what was presented."""
    if not _is_possible(presented):
        return ()
    found = []
    if nearest is not None:
        found.append(_remedy(f"Correct {nearest.name}", "update", nearest.name, presented, client))
    taken = any((other.issuer, other.subject) == (presented.issuer, presented.subject) for other in credentials)
    if not taken and len(credentials) < MAXIMUM_FEDERATED_CREDENTIALS:
        title = "Trust this subject" if nearest is None else f"Or keep {nearest.name} and trust this subject as well"
        found.append(_remedy(title, "create", _new_name(presented, credentials), presented, client))
    return tuple(found)


def _is_possible(presented: Presented) -> bool:
    try:
        check_credential(FederatedCredential("presented", presented.issuer, presented.subject, (presented.audience,)))
    except RequestError:
        return False
    # az replaces a value that begins with @ by the content of that file, and would send it to Azure.
    return not presented.subject.startswith("@") and not presented.audience.startswith("@")


def _new_name(presented: Presented, credentials: Sequence[FederatedCredential]) -> str:
    """Return an unused name, derived from the subject as far as Azure's rules for names allow."""
    last = presented.subject.split(":")[-1]
    cleaned = "".join(character if character.isascii() and character.isalnum() else "-" for character in last)
    base, taken = f"{cleaned.strip('-')[:100] or 'subject'}-federated-id", {other.name.lower() for other in credentials}
    names = [base, *(f"{base}-{number}" for number in range(2, MAXIMUM_FEDERATED_CREDENTIALS + 2))]
    return next(name for name in names if name.lower() not in taken)


def _remedy(title: str, verb: str, name: str, presented: Presented, client: Client) -> Remedy:
    if isinstance(client, Application):
        return Remedy(title, _application_command(verb, name, presented, client), "")
    return _identity_remedy(title, f"{verb} {_option('name', name)}", presented, client)


def _identity_remedy(title: str, verb: str, presented: Presented, identity: ManagedIdentity) -> Remedy:
    group = _option("resource-group", identity.resource_group)
    trusted = _option("issuer", presented.issuer), _option("subject", presented.subject)
    is_default = verb.startswith("create") and presented.audience == DEFAULT_AUDIENCE
    az = _command(
        f"az identity federated-credential {verb}",
        f"{_option('identity-name', identity.name)} {group}",
        *trusted,
        *(() if is_default else (_option("audiences", presented.audience),)),
    )
    wisp = _command(
        f'wisp cloud federate --state="$STATE" {verb.partition(" ")[2]}',
        f"{_option('identity', identity.name)} {group}",
        *trusted,
        _option("audience", presented.audience),
    )
    return Remedy(title, az, wisp)


def _application_command(verb: str, name: str, presented: Presented, application: Application) -> str:
    """Return the command of `az ad app`, which takes Microsoft Graph's own document."""
    document = {
        "name": name,
        "issuer": presented.issuer,
        "subject": presented.subject,
        "audiences": [presented.audience],
    }
    which = f" {_option('federated-credential-id', name)}" if verb == "update" else ""
    return _command(
        f"az ad app federated-credential {verb} {_option('id', application.client_id)}{which}",
        _option("parameters", json.dumps(document, ensure_ascii=False)),
    )


def _command(*lines: str) -> str:
    return " \\\n  ".join(lines)


def _option(name: str, value: str) -> str:
    return f"--{name}={shlex.quote(value)}"
