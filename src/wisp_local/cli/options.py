"""Options, input and output shared by the commands on a cloud's state file."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from wisp.base.errors import SettingError
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE

FILE = click.Path(path_type=Path)
state_option = click.option("--state", type=FILE, required=True, help="SQLite file that holds the state of the cloud.")
query_option = click.option("--query", metavar="FIELD", help="Print only this field, like `az --query FIELD -o tsv`.")
audience_option = click.option(
    "--audience", default=DEFAULT_AUDIENCE, show_default=True, help="Audience (aud) of the assertion."
)


def read_text(path: Path) -> str:
    """Read a file that the user named; raises `SettingError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"cannot read {path} ({reason})", hint="name another file") from error


def show(document: Mapping[str, object], query: str | None = None) -> None:
    """Print `document` as one line of JSON, or only its field `query`."""
    if query is None:
        click.echo(json.dumps(document))
    elif query in document:
        click.echo(document[query])
    else:
        raise click.BadParameter(f"there is no field {query}; use one of {', '.join(document)}", param_hint="--query")
