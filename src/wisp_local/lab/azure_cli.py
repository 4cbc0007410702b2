"""Makes the `az` of a shell the lab's: the shell code that `wisp lab env` prints, and a wrapper script around az.

Returns text and knows no file. None of az's own files is written: its configuration is in AZURE_ variables
(https://learn.microsoft.com/cli/azure/azure-cli-configuration). ARM_CLOUD_METADATA_URL is for clouds without access to
the Internet: it names the file that describes them (Azure/azure-cli#10906).
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

MARK = ".wisp-lab"
"""A file next to the wrapper script. By it, one lab's script does not take another lab's for the real az."""
CLOUD_NAME = "WispLocal"
MISSING = (
    "there is no az on PATH: install Azure CLI, for example with `pip install azure-cli` "
    "(https://learn.microsoft.com/cli/azure/install-azure-cli)"
)
LOGGED_IN = "wisp.login"
"""A file in az's configuration folder: the script has logged in. It does not undo a user's own `az logout`."""
SAVED = ("AZURE_CONFIG_DIR", "KUBECONFIG", "KUBECACHEDIR")
"""Variables whose previous values are saved in a shell that enters a lab, and restored when it leaves."""
_LAB = "WISP_LAB"
_SAVED_PREFIX = "WISP_LAB_WAS_"


@dataclass(frozen=True)
class CliConfig:
    """The settings of az: its folder, a file of trusted CAs, the file of the cloud's endpoints, and its login.

    `host` is reached without a forward proxy. The login is a service principal with its secret in `secret_file`.
    """

    folder: str
    trusted: str
    metadata: str
    host: str
    client_id: str
    tenant_id: str
    secret_file: str

    def variables(self) -> dict[str, str]:
        """Return the environment variables of az."""
        return {
            "AZURE_CONFIG_DIR": self.folder,
            "AZURE_CLOUD_NAME": CLOUD_NAME,
            "ARM_CLOUD_METADATA_URL": f"file://{quote(self.metadata)}",
            "REQUESTS_CA_BUNDLE": self.trusted,
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
        }


def cloud_metadata(endpoints: Mapping[str, object]) -> str:
    """Return the list of clouds, only this one, from what `/metadata/endpoints` answers."""
    return json.dumps([{**endpoints, "name": CLOUD_NAME}], indent=2) + "\n"


def wrapper_script(config: CliConfig) -> str:
    """Return a script that finds the real az further on PATH, logs in once, and executes it.

    az reads the secret from its file, so that no list of processes shows it.
    """
    return _WRAPPER.format(
        exports="\n".join(f"export {name}={shlex.quote(value)}" for name, value in config.variables().items()),
        user=f"-u {shlex.quote(config.client_id)} --tenant {shlex.quote(config.tenant_id)}",
        secret=shlex.quote(f"@{config.secret_file}"),
        logged_in=shlex.quote(f"{config.folder}/{LOGGED_IN}"),
        host=config.host,
        mark=MARK,
        missing=MISSING,
    )


_WRAPPER = """\
#!/bin/sh
# Written by `wisp lab up`: runs the real az with the lab's settings, which no other program of the shell gets.
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
  "$found" login --service-principal {user} --password={secret} --output none --only-show-errors </dev/null || exit
  : > {logged_in}
fi
exec "$found" "$@"
"""


class Shell(Enum):
    """The languages of shells: `posix` is understood by sh, bash, dash and zsh."""

    POSIX = "posix"
    FISH = "fish"


@dataclass(frozen=True)
class _Syntax:
    quote: Callable[[str], str]
    export: str
    unset: str
    prepend: str
    separator: str  # of the folders of PATH


def _fish_quote(text: str) -> str:
    """Quote a word: two characters are escaped (https://fishshell.com/docs/current/language.html#quotes)."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SYNTAX = {
    Shell.POSIX: _Syntax(
        quote=shlex.quote,
        export="export {name}={value}",
        unset="unset {name}",
        prepend='export PATH={value}"${{PATH:+:$PATH}}"',
        separator=":",
    ),
    Shell.FISH: _Syntax(
        quote=_fish_quote,
        export="set -gx {name} {value}",
        unset="set -e {name}",
        prepend="set -gx PATH {value} $PATH",
        separator=" ",
    ),
}


def enter_lab(variables: Mapping[str, str], programs: str, environ: Mapping[str, str], shell: Shell) -> list[str]:
    """Return the lines that set `variables`, with WISP_LAB, and put the folder `programs` first on PATH.

    The values of `SAVED` in `environ` are saved, unless they are another lab's. Evaluating the lines twice changes
    nothing.
    """
    syntax = _SYNTAX[shell]
    saved = {} if _LAB in environ else {f"{_SAVED_PREFIX}{name}": environ[name] for name in SAVED if name in environ}
    lines = [_export(syntax, name, value) for name, value in {**saved, **variables}.items()]
    first = environ.get("PATH", "").split(":")[0]
    return lines if first == programs else [*lines, syntax.prepend.format(value=syntax.quote(programs))]


def leave_lab(is_lab_folder: Callable[[str], bool], environ: Mapping[str, str], shell: Shell) -> list[str]:
    """Return the lines that undo `enter_lab`. `is_lab_folder` recognises the folders that labs have put on PATH."""
    syntax = _SYNTAX[shell]
    lines = []
    for name in SAVED if _LAB in environ else ():
        saved = environ.get(f"{_SAVED_PREFIX}{name}")
        lines.append(syntax.unset.format(name=name) if saved is None else _export(syntax, name, saved))
    own = [name for name in environ if name == _LAB or name.startswith(_SAVED_PREFIX)]
    lines += [syntax.unset.format(name=name) for name in sorted(own)]
    folders = environ.get("PATH", "").split(":")
    others = [folder for folder in folders if not is_lab_folder(folder)]
    return lines if others == folders else [*lines, _export(syntax, "PATH", *others)]


def _export(syntax: _Syntax, name: str, *values: str) -> str:
    return syntax.export.format(name=name, value=syntax.separator.join(map(syntax.quote, values)))
