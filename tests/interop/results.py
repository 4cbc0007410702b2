"""The results of runs, stored in files between the tests and the writing of the document."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.interop.build import cache_folder
from tests.interop.cells import Case, Cell, Route, Row, cells, rows
from tests.interop.client_run import Answer
from wisp.base.files import write_atomically


def save_answers(answers: Mapping[Cell, Answer]) -> None:
    """Add answers to the stored ones."""
    _save("answers", {str(cell): asdict(answer) for cell, answer in answers.items()})


def answers() -> Mapping[Cell, Answer]:
    """Return the stored answers of the existing cells."""
    stored = _load("answers")
    return {cell: _answer(stored[str(cell)]) for cell in cells(*Case) if str(cell) in stored}


def _answer(fields: Mapping[str, Any]) -> Answer:
    return Answer(**{**fields, "seconds": tuple(fields["seconds"])})


def save_rows(name: str, texts: Mapping[Row, object]) -> None:
    """Add texts about rows to the stored ones: `sent` for the requests, `sources` for the sources of tokens."""
    _save(name, {str(row): text for row, text in texts.items()})


def row_texts(name: str, known: Iterable[Row] | None = None) -> Mapping[Row, Any]:
    """Return the stored texts about the `known` rows, or about all that use the sidecar."""
    stored = _load(name)
    selected = (row for route in Route for row in rows(route)) if known is None else known
    return {row: stored[str(row)] for row in selected if str(row) in stored}


def _path(name: str) -> Path:
    return cache_folder() / f"{name}.json"


def _load(name: str) -> dict[str, Any]:
    path = _path(name)
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _save(name: str, new: Mapping[str, object]) -> None:
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({**_load(name), **new}, indent=1))
