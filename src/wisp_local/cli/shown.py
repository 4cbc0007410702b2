"""What the commands on a state file share: how they name it, read a file and print what they made."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from wisp.base.errors import SettingError

FILE = click.Path(path_type=Path)
state_option = click.option("--state", type=FILE, required=True, help="SQLite file that keeps everything.")
query_option = click.option(
    "--query", metavar="FIELD", help="Print this field alone, as `az --query FIELD -o tsv` does."
)


def read_text(path: Path) -> str:
    """Read a file that the user named; raises `SettingError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingError(f"cannot read {path} ({reason})", hint="name another file") from error


def show(document: Mapping[str, object], query: str | None = None) -> None:
    """Print `document` as one line of JSON, or its field `query` alone."""
    if query is None:
        click.echo(json.dumps(document))
    elif query in document:
        click.echo(document[query])
    else:
        raise click.BadParameter(f"there is no {query}; there is {', '.join(document)}", param_hint="--query")
