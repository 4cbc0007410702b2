"""Render templates to HTML: values are escaped, and characters that cannot be seen are spelled out."""

import re
from functools import cache

import jinja2
from markupsafe import Markup, escape

from wisp_local.cloud.page.explanation import Piece
from wisp_local.cloud.page.tokens import moment, since, visible

_BREAKS = re.compile(r"[^:/]*[:/]+|[^:/]+", re.DOTALL)


@cache
def templates() -> jinja2.Environment:
    """Return the environment of the templates in this package, each compiled once a process."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(
        moment=moment,
        clock=lambda seconds: moment(seconds)[11:19],
        iso=lambda seconds: moment(seconds).removesuffix(" UTC").replace(" ", "T") + "Z",
        since=since,
        lines=_lines,
        piece=_piece,
        sentence=lambda text: f"{_capital(text)}." if text else "",
        capital=_capital,
        breakable=_breakable,
    )
    return environment


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    """Show text of several lines, such as a command; line breaks within values are spelled out already."""
    return Markup("\n").join(escape(visible(line)) for line in text.split("\n"))


def _piece(piece: Piece) -> Markup:
    """Show a piece of a difference, with visible spaces where it differs."""
    text = visible(piece.text)
    return escape(text.replace(" ", "\N{SYMBOL FOR SPACE}") if piece.differs else text)


def _breakable(text: str) -> Markup:
    """Show a long value that may continue on the next line after a colon or a slash."""
    return Markup("").join(
        Markup('<span class="segment">{}</span>').format(visible(segment)) for segment in _BREAKS.findall(text)
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
