"""The help of every command, as it is printed: `python -m tests.contract.help_texts` writes it to tests/golden/help."""

from collections.abc import Iterator

import click

from tests.support.paths import ROOT
from wisp.cli import wisp
from wisp.proxy.flags import USAGE

FOLDER = ROOT / "tests/golden/help"
_WIDTH = 100


def help_texts() -> dict[str, str]:
    """Return the help by command line, such as `wisp lab up`."""
    root = click.Context(wisp, info_name="wisp", terminal_width=_WIDTH, max_content_width=_WIDTH)
    return {**dict(_texts(wisp, root)), "wisp proxy": USAGE}


def _texts(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _texts(found, click.Context(found, info_name=name, parent=context))


def file_name(command_line: str) -> str:
    """Return the name of a command's golden file."""
    return command_line.replace(" ", "-") + ".txt"


if __name__ == "__main__":
    texts = help_texts()
    for stale in {path.name for path in FOLDER.glob("*.txt")} - {file_name(line) for line in texts}:
        (FOLDER / stale).unlink()
    for line, text in texts.items():
        (FOLDER / file_name(line)).write_text(text, encoding="utf-8")
