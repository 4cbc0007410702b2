"""`wisp redirect up --proxy-port=PORT` and nothing else, as every pod runs it before anything of its own can start.

It says and does what the command says and does, without the command line library that takes a third of its time.
"""

import sys

from wisp.errors import WispError
from wisp.redirect import apply
from wisp.redirect.host import Host
from wisp.redirect.plan import Choice
from wisp.redirect.rule import METADATA_IP, METADATA_PORT, PROXY_UID, Rule, parse_address


def main(proxy_port: int) -> int:
    """Put the redirect in force and return the exit status."""
    try:
        rule = Rule(
            proxy_port=proxy_port,
            proxy_uid=PROXY_UID,
            metadata_ip=parse_address(METADATA_IP),
            metadata_port=METADATA_PORT,
        )
        done = apply.up(Host(), rule, Choice.AUTO)
    except WispError as error:
        sys.stderr.write(f"wisp: {error}\n")
        return error.exit_status
    sys.stderr.writelines(f"wisp: note: {note}\n" for note in done.notes)
    sys.stdout.write(f"{rule} ({done.tools[0].backend.value})\n")
    return 0
