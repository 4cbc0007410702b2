"""What came of the runs, kept in files between the tests and the writing of the document."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.interop.asking import Answer
from tests.interop.build import cache_folder
from tests.interop.cells import Case, Cell, Route, Row, cells, rows


def keep_answers(answers: Mapping[Cell, Answer]) -> None:
    """Add to the answers that are kept."""
    _keep("answers", {str(cell): asdict(answer) for cell, answer in answers.items()})


def answers() -> Mapping[Cell, Answer]:
    """Return the answers that are kept, of the cells that there are."""
    kept = _load("answers")
    return {cell: _answer(kept[str(cell)]) for cell in cells(*Case) if str(cell) in kept}


def keep_sent(sent: Mapping[Row, Mapping[str, str]]) -> None:
    """Add to what is kept of what clients sent."""
    _keep("sent", {str(row): dict(texts) for row, texts in sent.items()})


def sent() -> Mapping[Row, Mapping[str, str]]:
    """Return what is kept of what clients sent, of the rows that there are."""
    kept = _load("sent")
    return {row: kept[str(row)] for route in Route for row in rows(route) if str(row) in kept}


def keep_sources(sources: Mapping[Row, str]) -> None:
    """Add to what is kept of who gives clients their token."""
    _keep("sources", {str(row): text for row, text in sources.items()})


def sources() -> Mapping[Row, str]:
    """Return what is kept of who gives clients their token, of the rows that there are."""
    kept = _load("sources")
    return {row: kept[str(row)] for route in Route for row in rows(route) if str(row) in kept}


def _answer(kept: Mapping[str, Any]) -> Answer:
    return Answer(**{**kept, "seconds": tuple(kept["seconds"])})


def _path(name: str) -> Path:
    return cache_folder() / f"{name}.json"


def _load(name: str) -> dict[str, Any]:
    path = _path(name)
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _keep(name: str, new: Mapping[str, object]) -> None:
    """Write what is new and what is known, at once for whoever reads it meanwhile."""
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({**_load(name), **new}, indent=1), encoding="utf-8")
    draft.replace(path)
