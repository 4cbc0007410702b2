"""`wisp redirect up --proxy-port=PORT` without the command line library, for where nft alone does not do."""

import sys

from wisp import SIDECAR_UID
from wisp.base.errors import WispError
from wisp.redirect import apply
from wisp.redirect.host import Host
from wisp.redirect.plan import Choice
from wisp.redirect.rule import Rule, parse_address
from wisp.redirect.scripts import METADATA_IP, METADATA_PORT


def main(proxy_port: int) -> int:
    """Put the redirect in force and return the exit status."""
    try:
        rule = Rule(
            proxy_port=proxy_port,
            proxy_uid=SIDECAR_UID,
            metadata_ip=parse_address(METADATA_IP),
            metadata_port=METADATA_PORT,
        )
        done = apply.up(Host(), rule, Choice.AUTO)
    except WispError as error:
        sys.stderr.write(error.report())
        return error.exit_status
    sys.stderr.writelines(f"note: {note}\n" for note in done.notes)
    sys.stdout.write(f"{rule} ({done.tools[0].backend.value})\n")
    return 0
