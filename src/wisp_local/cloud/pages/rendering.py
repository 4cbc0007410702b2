"""Templates into HTML: everything that is put in is escaped, and what cannot be seen is spelled out."""

import re
from collections.abc import Mapping
from functools import cache

import jinja2
from markupsafe import Markup, escape

from wisp_local.cloud.pages.difference import Piece
from wisp_local.cloud.pages.readable import moment, since, visible

_PARTS = re.compile(r"[^:/]*[:/]+|[^:/]+", re.DOTALL)


@cache
def environment() -> jinja2.Environment:
    """Return the environment of this folder's templates, each compiled once a process."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("wisp_local.cloud.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters.update(
        moment=moment,
        clock=_clock,
        iso=_iso,
        since=since,
        lines=_lines,
        piece=_piece,
        sentence=_sentence,
        capital=_capital,
        breakable=_breakable,
    )
    return made


def render(templates: jinja2.Environment, name: str, told: Mapping[str, object]) -> str:
    """Fill the template `name`."""
    return templates.get_template(name).render(told)


def _shown(value: object) -> object:
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _lines(text: str) -> Markup:
    """Show a text of several lines of ours, such as a command; line breaks within values were spelled out before."""
    return Markup("\n").join(escape(visible(each)) for each in text.split("\n"))


def _piece(piece: Piece) -> Markup:
    """Show one piece of a difference; space that differs is made visible."""
    text = visible(piece.text)
    return escape(text.replace(" ", "\N{SYMBOL FOR SPACE}") if piece.differs else text)


def _breakable(text: str) -> Markup:
    """Show a long value that may go on in the next line after a colon or a slash."""
    return Markup("").join(
        Markup('<span class="part">{}</span>').format(visible(each)) for each in _PARTS.findall(text)
    )


def _sentence(text: str) -> str:
    return f"{_capital(text)}." if text else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clock(seconds: float) -> str:
    return moment(seconds)[11:19]


def _iso(seconds: float) -> str:
    return moment(seconds).removesuffix(" UTC").replace(" ", "T") + "Z"
