"""What makes the `az` on a user's PATH this lab's: a program in front of it, and what that tells it.

Decides their text and knows no file. None of az's own files is written: AZURE_ variables stand for its configuration
(https://learn.microsoft.com/cli/azure/azure-cli-configuration), and ARM_CLOUD_METADATA_URL names the file that clouds
without the Internet are described in (Azure/azure-cli#10906).
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

MARK = ".wisp-lab"
"""A file beside the program: by it, one lab's program does not take another lab's for the real az."""
CLOUD_NAME = "WispLocal"
MISSING = (
    "there is no az on PATH: install Azure CLI, for example with `pip install azure-cli` "
    "(https://learn.microsoft.com/cli/azure/install-azure-cli)"
)
LOGGED_IN = "wisp.login"
"""A file in az's configuration folder: it has logged in once. A user's own `az logout` stays so."""


@dataclass(frozen=True)
class Login:
    """As whom az logs in, with the secret in `secret_file`."""

    client_id: str
    tenant_id: str
    secret_file: str


@dataclass(frozen=True)
class Told:
    """What az is told: its configuration folder, the file of what it trusts, that of the cloud's endpoints.

    `host` is reached without a forward proxy.
    """

    config: str
    trusted: str
    metadata: str
    host: str


def variables(told: Told) -> dict[str, str]:
    """Return az's environment, besides the user's."""
    return {
        "AZURE_CONFIG_DIR": told.config,
        "AZURE_CLOUD_NAME": CLOUD_NAME,
        "ARM_CLOUD_METADATA_URL": f"file://{quote(told.metadata)}",
        "REQUESTS_CA_BUNDLE": told.trusted,
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
    }


def endpoints_file(document: Mapping[str, object]) -> str:
    """Write the list of clouds, this one alone, from what `/metadata/endpoints` answers."""
    return json.dumps([{**document, "name": CLOUD_NAME}], indent=2) + "\n"


def program(told: Told, login: Login) -> str:
    """Write the program: it finds the real az behind itself on PATH, logs in once, and becomes it.

    The secret is read by az from its file, so that no list of processes shows it.
    """
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables(told).items())
    who = f"-u {shlex.quote(login.client_id)} --tenant {shlex.quote(login.tenant_id)}"
    return _PROGRAM.format(
        exports=exports,
        who=who,
        secret=shlex.quote(f"@{login.secret_file}"),
        logged_in=shlex.quote(f"{told.config}/{LOGGED_IN}"),
        host=told.host,
        mark=MARK,
        missing=MISSING,
    )


_PROGRAM = """\
#!/bin/sh
# Made by `wisp lab up`, and made anew by it: the real az, told of the lab. The rest of the shell trusts what it did.
rest= found=
set -f
IFS=:
for folder in $PATH; do
  [ -e "$folder/{mark}" ] && continue
  rest="$rest:$folder"
  [ -z "$found" ] && [ -f "$folder/az" ] && [ -x "$folder/az" ] && found="$folder/az"
done
unset IFS
set +f
if [ -z "$found" ]; then
  echo 'wisp lab: {missing}' >&2
  exit 127
fi
export PATH="${{rest#:}}"
{exports}
export no_proxy="{host}${{no_proxy:+,$no_proxy}}${{NO_PROXY:+,$NO_PROXY}}"
export NO_PROXY="$no_proxy"
if ! [ -e {logged_in} ]; then
  "$found" login --service-principal {who} --password={secret} --output none --only-show-errors </dev/null || exit
  : > {logged_in}
fi
exec "$found" "$@"
"""
