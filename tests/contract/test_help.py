"""Every command's help is as in tests/golden/help, and every option has a help of its own."""

import re
from collections.abc import Iterator

import click
import pytest

from tests.contract.help_texts import FOLDER, file_name, help_texts
from wisp.cli import wisp

TEXTS = help_texts()


@pytest.mark.parametrize("command", TEXTS)
def test_help_is_as_recorded(command: str) -> None:
    """After a change: `python -m tests.contract.help_texts`."""
    assert TEXTS[command] == (FOLDER / file_name(command)).read_text(encoding="utf-8")


def test_no_help_is_recorded_of_a_command_that_does_not_exist() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {file_name(command) for command in TEXTS}


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Option]]:
    yield from ((context.command_path, option) for option in command.params if isinstance(option, click.Option))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _options(found, click.Context(found, info_name=name, parent=context))


OPTIONS = {
    f"{command} {option.opts[0]}": option for command, option in _options(wisp, click.Context(wisp, info_name="wisp"))
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_a_help_that_stands_alone(option: str) -> None:
    """It is a sentence that can be understood without the option before it."""
    text = OPTIONS[option].help or ""
    assert text[:1].isupper() or text[:1] in "`/'0123456789", f"no sentence: {text!r}"
    sentence = re.sub(r"\s*\[default: [^\]]*\]$", "", text)
    assert sentence.endswith("."), f"no full stop: {text!r}"
    first = text.partition(" ")[0].strip(",.").lower()
    assert first not in {"and", "also", "same", "of", "likewise", "or", "its", "the-same"}, (
        f"refers to another option: {text!r}"
    )
