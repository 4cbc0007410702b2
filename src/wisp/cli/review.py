"""`wisp webhook review`: what the webhook would answer, without a server or a cluster."""

import sys
from collections.abc import Iterable
from dataclasses import replace

import click
import msgspec

from wisp.admission.contract import Policy, parse_version
from wisp.admission.review import ReviewError, account_of, answer, decide, read
from wisp.cli.accounts import Accounts, accounts_of
from wisp.cli.policy import policy_options


@click.command(name="review")
@click.option(
    "--service-accounts",
    "paths",
    multiple=True,
    metavar="FILE",
    help="YAML or JSON with the cluster's service accounts; may be given several times.",
)
@click.option(
    "--server-version", metavar="VERSION", help="The API server's, as 1.34: from 1.32 on sidecars are native."
)
@policy_options
def review(paths: tuple[str, ...], server_version: str | None, policy: Policy) -> None:
    """Answer admission reviews: JSON, one a line, from standard input to standard output.

    A service account that is in no file is one that does not exist.
    """
    if server_version is not None:
        policy = replace(policy, server_version=parse_version(server_version))
    lines = (line for line in sys.stdin.buffer if not line.isspace())
    _answer_all(lines, accounts_of(paths, "default"), policy)


def _answer_all(lines: Iterable[bytes], accounts: Accounts, policy: Policy) -> None:
    for number, line in enumerate(lines, start=1):
        try:
            asked = read(line)
        except ReviewError as error:
            raise ReviewError(f"review {number}: {error.problem}", hint=error.hint) from None
        account = account_of(asked)
        decision = decide(asked, None if account is None else accounts.get(account), policy)
        click.echo(msgspec.json.encode(answer(asked, decision)))
