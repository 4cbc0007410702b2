"""`wisp webhook review`: answers admission reviews as the webhook does, without a server or a cluster."""

import sys
from dataclasses import replace

import click
import msgspec

from wisp.admission.policy import Policy, parse_version
from wisp.admission.review import ReviewError, account_ref, answer, decide, read_review
from wisp.cli.manifests import read_accounts
from wisp.cli.policy import policy_options


@click.command(name="review")
@click.option(
    "--service-accounts",
    "paths",
    multiple=True,
    metavar="FILE",
    help="YAML or JSON file with the cluster's service accounts; may be given several times.",
)
@click.option(
    "--server-version",
    metavar="VERSION",
    help="Version of the API server, such as 1.34. From 1.32 on, sidecars are native.",
)
@policy_options
def review(paths: tuple[str, ...], server_version: str | None, policy: Policy) -> None:
    """Answer admission reviews from standard input: JSON, one on each line.

    A service account that is in none of the files does not exist.
    """
    if server_version is not None:
        policy = replace(policy, server_version=parse_version(server_version))
    accounts = read_accounts(paths, "default")
    lines = (line for line in sys.stdin.buffer if not line.isspace())
    for number, line in enumerate(lines, start=1):
        try:
            asked = read_review(line)
        except ReviewError as error:
            raise ReviewError(f"review {number}: {error.problem}", hint=error.hint) from None
        account = account_ref(asked)
        decision = decide(asked, None if account is None else accounts.get(account), policy)
        click.echo(msgspec.json.encode(answer(asked, decision)))
